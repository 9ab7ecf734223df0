"""Output at the terminal: progress switches, short tables, the closing lines of a run."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_pz.common.tables import Table


def is_terminal() -> bool:
    """Whether progress bars go to a terminal."""
    return sys.stderr.isatty()


def show_end(
    values: Mapping[str, str], next_command: str, folder: Path, *, tables: Sequence[Table] = (), curves: str = ""
) -> None:
    """Print the closing table, further tables, the command to type next, that for curves, and last the folder, for scripts."""
    from lightning_pz.common.tables import Table  # it imports scipy, and a wrong option should be refused before

    for table in (Table([], list(values.items())), *tables):
        print(f"\n{table.console()}")
    print(f"\n  next: {next_command}")
    if curves:
        print(f"  curves: {curves}")
    print(f"\n{folder}")
