"""Tables of text, numbers, `Estimate`s and None, shown as Markdown, at the console, and with all digits as CSV."""

from __future__ import annotations

import csv
import io
import math
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightning_pz.common.statistics import Estimate

_WIDTH = 110  # characters of a line where the output is no terminal
_SHORTEST = 8  # characters that a cut cell keeps at least
_LEGIBLE = 12  # characters below which a name is cut only where a single column does not fit beside it
_ENDS = ("", "_low", "_high", "_interval")


@dataclass(frozen=True)
class Table:
    """Rows under headings; a console table may have none."""

    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    # of a column's numbers outside CSV, by heading; else `.4g` for floats, and what `estimate_text` chooses
    formats: Mapping[str, str] = field(default_factory=dict)

    def only(self, headings: Collection[str]) -> Table:
        """Return the table of the named columns, in the given order."""
        places = [list(self.header).index(heading) for heading in headings]
        return Table(list(headings), [[row[place] for place in places] for row in self.rows], self.formats)

    def markdown(self) -> str:
        """Return the table as Markdown."""
        lines = [[cell.replace("|", "\\|") for cell in line] for line in self._lines()]
        text = ["| " + " | ".join(line) + " |" for line in lines]
        return "\n".join([text[0], "|" + "---|" * len(lines[0]), *text[1:]]) + "\n"

    def csv(self) -> str:
        """Return the table as CSV, an `Estimate` in four columns; a number that is not finite is empty."""
        columns = list(zip(*self.rows, strict=True)) or [()] * len(self.header)
        wide = [any(isinstance(cell, Estimate) for cell in column) for column in columns]
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            [f"{name}{end}" for name, four in zip(self.header, wide, strict=True) for end in (_ENDS if four else ("",))]
        )
        for row in self.rows:
            cells = [(cell or [None] * len(_ENDS)) if four else [cell] for cell, four in zip(row, wide, strict=True)]
            numbers = [number for cell in cells for number in cell]
            writer.writerow([None if isinstance(x, float) and not math.isfinite(x) else x for x in numbers])
        return file.getvalue()

    def console(self, names: int = 1, *, whole: bool = False) -> str:
        """Return the table for a terminal, two spaces between columns.

        The first `names` columns are flush left, and cut in the middle where lines are wider than the terminal; the
        others are flush right and stay whole. Those that do not fit beside legible names follow below, with the names again;
        `whole` names are cut only where a single column does not fit beside them.
        """
        lines = self._lines()
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        room = shutil.get_terminal_size((_WIDTH, 24)).columns
        blocks = _blocks(widths, names, room, max(widths) if whole else _LEGIBLE)
        return "\n\n".join(self._block(lines, widths, names, block, room) for block in blocks)

    def _block(self, lines: list[list[str]], widths: list[int], names: int, columns: list[int], room: int) -> str:
        lines = [[line[column] for column in columns] for line in lines]
        widths = [widths[column] for column in columns]
        excess = sum(widths) + 2 * len(widths) - room
        while excess > 0 and max(widths[:names]) > _SHORTEST:
            widths[widths.index(max(widths[:names]))] -= 1
            excess -= 1
        if self.header:
            lines.insert(1, ["-" * width for width in widths])
        text = [
            [_cut(cell, width).ljust(width) if i < names else cell.rjust(width) for i, (cell, width) in enumerate(line)]
            for line in (list(zip(line, widths, strict=True)) for line in lines)
        ]
        return "\n".join(("  " + "  ".join(line)).rstrip() for line in text)

    def _lines(self) -> list[list[str]]:
        """Return all cells as text, the header first if there is one."""
        forms = [self.formats.get(heading, "") for heading in self.header] or [""] * len(self.rows[0])
        lines = [[_text(cell, form) for cell, form in zip(row, forms, strict=True)] for row in self.rows]
        return [list(self.header), *lines] if self.header else lines


def estimate_text(found: Estimate, form: str = "", unit: str = "") -> str:
    """Return a number and its unit with its interval or range, if it has one; `none` where there is no number.

    Without a format, all three numbers have the digits that suit the largest.
    """
    if not math.isfinite(found.value):
        return "none"
    form = form or number_form(max(abs(number) for number in found[:3] if math.isfinite(number)))
    return f"{found.value:{form}}{unit}{found.ends(form)}"


def number_form(size: float) -> str:
    """Return a format with two digits behind the point for numbers below 100, one below 1,000, none above; no -0."""
    return f"z,.{2 if abs(size) < 100 else 1 if abs(size) < 1000 else 0}f"


def _text(cell: Any, form: str) -> str:
    if isinstance(cell, Estimate):
        return estimate_text(cell, form)
    if cell is None or isinstance(cell, str):
        return cell or ""
    if isinstance(cell, float) and not math.isfinite(cell):
        return "none"
    return format(cell, form or (".4g" if isinstance(cell, float) else ""))


def _blocks(widths: list[int], names: int, room: int, legible: int) -> list[list[int]]:
    """Return the columns of each block of a table: the names, and as many of the others as fit, at least one."""
    left = room - sum(min(width, legible) + 2 for width in widths[:names])
    blocks: list[list[int]] = [[]]
    taken = 0
    for column in range(names, len(widths)):
        if blocks[-1] and taken + widths[column] + 2 > left:
            blocks.append([])
            taken = 0
        blocks[-1].append(column)
        taken += widths[column] + 2
    return [[*range(names), *block] for block in blocks]


def _cut(word: str, width: int) -> str:
    # Both ends stay: names of checkpoints differ at the end.
    return word if len(word) <= width else f"{word[: (width - 1) // 2]}…{word[-(width // 2) :]}"
