"""Results pages, rendered anew by `python -m sweeps results`.

A page is a template in `sweeps/results/templates/` with its prose; a line `{{ table NAME }}` stands for the table in
`sweeps/results/tables/NAME.csv`: lines such as `# command: python -m sweeps compare`, then CSV. `{{ list NAME }}` shows a
table of one column as a list of sentences. Columns `x`, `x_low` and
`x_high` are one column of the page, the interval `x [x_low, x_high]`; `x`, `x_from` and `x_to` the range
`x (x_from to x_to)`. Numbers keep the digits they have in the file.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from lightning_pz.common.errors import UserError
from lightning_pz.common.files import write_text
from lightning_pz.common.tables import Table
from sweeps.options import ResultsOptions

FOLDER = Path(__file__).parent
_MARK = re.compile(r"^\{\{ (table|list) ([a-z0-9-]+) \}\}$", re.MULTILINE)
_HEAD = "<!-- Rendered by `python -m sweeps results` from templates/{name} and tables/; edit those. -->\n\n"
ABOUT = ("command", "made", "commit", "seeds", "machine", "interval")
"""What a table must say of itself: the command that made its numbers, the day, the commit, the seeds, the machine time
and the kind of interval (`none` where there is none)."""
_OPTIONAL = ("bold", "source", "note")
ROWS_OF = "rows of "
"""Begins the key of a line that says when and how a group of rows was made, where not all of a table was made at once."""
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


@dataclass(frozen=True)
class PageTable:
    """A table with what it says of itself."""

    # by key; see `ABOUT`. `bold: max` prints the highest of a row's numbers bold; `source` and `note` are sentences; see `ROWS_OF`.
    about: dict[str, str]
    table: Table  # cells as text

    @classmethod
    def read(cls, path: Path) -> PageTable:
        """Read a table from its file.

        Raises:
            UserError: A key of `ABOUT` is missing or unknown, or a row is longer or shorter than the header.
        """
        lines = path.read_text().splitlines()
        head = [line for line in lines if line.startswith("# ")]
        about = dict(line[2:].split(": ", 1) for line in head)
        own = {key for key in about if key not in _OPTIONAL and not key.startswith(ROWS_OF)}
        if wrong := sorted(set(ABOUT) ^ own):
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
        ends = [f"{name}_{end}" for name in header for end in ("low", "high", "from", "to")]
        names = [name for name in header if name not in ends]
        rows = []
        for row in self.table.rows:
            cells = dict(zip(header, row, strict=True))
            numbers = {name: float(cells[name]) for name in names if _NUMBER.fullmatch(cells[name])}
            best = max(numbers, key=lambda name: numbers[name]) if about.get("bold") == "max" else None
            rows.append([_joined(name, cells, bold=name == best) for name in names])
        command = " ".join(f"`{part.strip()}`" for part in about["command"].split(";"))
        groups: dict[str, list[str]] = {}
        for key, made in about.items():
            if key.startswith(ROWS_OF):
                groups.setdefault(made, []).append(key.removeprefix(ROWS_OF))
        when = [f"{ROWS_OF}{', '.join(names)}: {made}" for made, names in groups.items()]
        line = [command, f"seeds: {about['seeds']}", about["machine"]]
        line += when or [f"{about['made']}, commit {about['commit']}"]
        if about["interval"] != "none":
            line.insert(2, f"[...]: {about['interval']}")
        line += [about[key] for key in ("source", "note") if key in about]
        return f"{Table(names, rows).markdown()}\n*{'; '.join(line)}.*\n"

    def sentences(self) -> str:
        """Return the first column as a list."""
        return "".join(f"* {row[0]}\n" for row in self.table.rows)


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


def render(folder: Path = FOLDER) -> dict[Path, str]:
    """Return the text of every page by its path.

    Raises:
        UserError: A table that a template names is missing or broken, or a table stands on no page.
    """
    used: set[str] = set()
    pages = {}

    def table(match: re.Match[str]) -> str:
        kind, name = match.groups()
        path = folder / "tables" / f"{name}.csv"
        if not path.is_file():
            raise UserError(f"{{{{ {kind} {name} }}}} expects {path}, but there is no such file")
        used.add(name)
        page = PageTable.read(path)
        return (page.markdown() if kind == "table" else page.sentences()).rstrip("\n")

    for template in sorted((folder / "templates").glob("*.md")):
        text = _MARK.sub(table, template.read_text())
        pages[folder / template.name] = _HEAD.format(name=template.name) + text
    if idle := sorted({path.stem for path in (folder / "tables").glob("*.csv")} - used):
        raise UserError(f"{folder / 'tables'} holds {', '.join(idle)}, but no template names them")
    return pages


def run(study: str, options: ResultsOptions) -> None:
    """Write all pages, and show which ones changed."""
    for path, text in render().items():
        same = path.is_file() and path.read_text() == text
        if not same:
            write_text(path, text)
        print(f"{path}: {'unchanged' if same else 'written'}")
