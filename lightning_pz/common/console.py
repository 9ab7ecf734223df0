"""Output at the terminal: progress switches, short tables, the closing lines of a run."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


def tqdm_disable(progress: bool | None) -> bool | None:
    """Translate a progress switch to tqdm's `disable`; None hides the bar unless the output is a terminal."""
    return None if progress is None else not progress


def is_terminal() -> bool:
    """Whether progress bars go to a terminal."""
    return sys.stderr.isatty()


def table(rows: Sequence[Sequence[str]], header: Sequence[str] | None = None) -> str:
    """Lay rows out in columns, the first flush left and the others flush right, two spaces between."""
    lines = [list(header)] if header else []
    lines += [list(row) for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = [
        "  ".join([line[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)])
        for line in lines
    ]
    if header:
        text.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join("  " + line.rstrip() for line in text)


def show_end(values: Mapping[str, str], next_command: str, folder: Path) -> None:
    """Print the closing table, the command to type next, and last the folder, for scripts to follow."""
    print()
    print(table(list(values.items())))
    print(f"\n  next: {next_command}\n")
    print(folder)
