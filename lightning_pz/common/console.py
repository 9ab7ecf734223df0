"""Output at the terminal: progress switches, short tables, the closing lines of a run."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path


def tqdm_disable(progress: bool | None) -> bool | None:
    """Translate a progress switch to tqdm's `disable`; None hides the bar unless the output is a terminal."""
    return None if progress is None else not progress


def is_terminal() -> bool:
    """Whether progress bars go to a terminal."""
    return sys.stderr.isatty()


def show_end(values: Mapping[str, str], next_command: str, folder: Path) -> None:
    """Print the closing table, the command to type next, and last the folder, for scripts to read."""
    from lightning_pz.common.tables import Table  # it imports scipy, and a wrong option should be refused before

    print(f"\n{Table([], list(values.items())).console()}\n\n  next: {next_command}\n\n{folder}")
