"""Render every results page anew: `python -m sweeps results`.

A page is a template in `sweeps/results/templates/` with its prose; a line `{{ table NAME }}` stands for the table in
`sweeps/results/tables/NAME.csv`. The rendered page lies in `sweeps/results/`.
"""

from __future__ import annotations

import re
from pathlib import Path

from lightning_pz.common.errors import UserError
from lightning_pz.common.files import write_text
from sweeps.options import ResultsOptions
from sweeps.results.page_table import PageTable

FOLDER = Path(__file__).parent
_MARK = re.compile(r"^\{\{ table ([a-z0-9-]+) \}\}$", re.MULTILINE)
_HEAD = "<!-- Rendered by `python -m sweeps results` from templates/{name} and tables/; edit those. -->\n\n"


def render(folder: Path = FOLDER) -> dict[Path, str]:
    """Return the text of every page by its path.

    Raises:
        UserError: A table that a template names is missing or broken, or a table stands on no page.
    """
    used: set[str] = set()
    pages = {}

    def table(match: re.Match[str]) -> str:
        path = folder / "tables" / f"{match[1]}.csv"
        if not path.is_file():
            raise UserError(f"{{{{ table {match[1]} }}}} expects {path}, but there is no such file")
        used.add(match[1])
        return PageTable.read(path).markdown().rstrip("\n")

    for template in sorted((folder / "templates").glob("*.md")):
        text = _MARK.sub(table, template.read_text())
        pages[folder / template.name] = _HEAD.format(name=template.name) + text
    if idle := sorted({path.stem for path in (folder / "tables").glob("*.csv")} - used):
        raise UserError(f"{folder / 'tables'} holds {', '.join(idle)}, but no template names them")
    return pages


def run(study: str, options: ResultsOptions) -> None:
    """Write all pages, and show which ones changed.

    Raises:
        UserError: A broken table or template.
    """
    for path, text in render().items():
        same = path.is_file() and path.read_text() == text
        if not same:
            write_text(path, text)
        print(f"{path}: {'unchanged' if same else 'written'}")
