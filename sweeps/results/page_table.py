"""One table of a results page: a CSV file whose first lines say what made it, rendered as Markdown.

The file begins with lines such as `# command: python -m sweeps compare`; the rest is CSV. Columns `x`, `x_low` and `x_high`
are one column of the page, the interval `x [x_low, x_high]`; `x`, `x_from` and `x_to` the range `x (x_from to x_to)`.
Numbers keep the digits they have in the file.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from lightning_pz.common.errors import UserError
from lightning_pz.common.tables import Table

ABOUT = ("command", "made", "commit", "seeds", "machine", "interval")
"""What a table must say of itself: the command that made its numbers, the day, the commit, the seeds, the machine time
and the kind of interval (`none` where there is none)."""
_OPTIONAL = ("bold", "source", "note")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


@dataclass(frozen=True)
class PageTable:
    """A table with what it says of itself.

    Attributes:
        about: By key; see `ABOUT`. `bold: max` prints the highest of a row's numbers bold; `source` and `note` are
            sentences.
        table: Cells as text.
    """

    about: dict[str, str]
    table: Table

    @classmethod
    def read(cls, path: Path) -> PageTable:
        """Read a table from its file.

        Raises:
            UserError: A key of `ABOUT` is missing or unknown, or a row is longer or shorter than the header.
        """
        lines = path.read_text().splitlines()
        head = [line for line in lines if line.startswith("# ")]
        about = dict(line[2:].split(": ", 1) for line in head)
        wrong = sorted(set(ABOUT) ^ set(about) - set(_OPTIONAL))
        if wrong:
            raise UserError(f"{path} expects the lines {', '.join(ABOUT)} at its head, but {', '.join(wrong)} differ")
        header, *rows = list(csv.reader(lines[len(head) :]))
        for number, row in enumerate(rows, len(head) + 2):
            if len(row) != len(header):
                raise UserError(f"{path}, line {number}: expected {len(header)} cells, but got {len(row)}")
        return cls(about, Table(header, rows))

    def file_text(self) -> str:
        """Return the text of the table's file; the inverse of `read`."""
        return "".join(f"# {key}: {value}\n" for key, value in self.about.items()) + self.table.csv()

    def markdown(self) -> str:
        """Return the table as Markdown, with a line beneath that says what made it."""
        about, header = self.about, list(self.table.header)
        names = [name for name in header if not _is_end(name, header)]
        rows = []
        for row in self.table.rows:
            cells = dict(zip(header, row, strict=True))
            best = _highest(names, cells) if about.get("bold") == "max" else None
            rows.append([_joined(name, cells, bold=name == best) for name in names])
        command = " ".join(f"`{part.strip()}`" for part in about["command"].split(";"))
        line = [command, f"seeds: {about['seeds']}", about["machine"], f"{about['made']}, commit {about['commit']}"]
        if about["interval"] != "none":
            line.insert(2, f"[...]: {about['interval']}")
        line += [about[key] for key in ("source", "note") if key in about]
        return f"{Table(names, rows).markdown()}\n*{'; '.join(line)}.*\n"


def _is_end(name: str, header: list[str]) -> bool:
    stem, _, end = name.rpartition("_")
    return end in ("low", "high", "from", "to") and stem in header


def _highest(names: list[str], cells: dict[str, str]) -> str:
    numbers = {name: float(cells[name]) for name in names if _NUMBER.fullmatch(cells[name])}
    return max(numbers, key=lambda name: numbers[name])


def _joined(name: str, cells: dict[str, str], *, bold: bool) -> str:
    value = f"**{_grouped(cells[name])}**" if bold else _grouped(cells[name])
    if low := cells.get(f"{name}_low"):
        return f"{value} [{_grouped(low)}, {_grouped(cells[f'{name}_high'])}]"
    if least := cells.get(f"{name}_from"):
        return f"{value} ({_grouped(least)} to {_grouped(cells[f'{name}_to'])})"
    return value


def _grouped(text: str) -> str:
    """Group the thousands of a number; other text stays."""
    if not _NUMBER.fullmatch(text):
        return text
    whole, point, rest = text.partition(".")
    return f"{int(whole):,}{point}{rest}" if abs(int(whole)) >= 1000 else text
