"""Writes what studies found into the tables and figures that the results pages are rendered from."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lightning_pz.common.files import write_text
from lightning_pz.common.statistics import Estimate
from lightning_pz.common.tables import estimate_text
from sweeps.results.pages import FOLDER, PageTable


def made_today(command: str) -> dict[str, str]:
    """Return the command, the day and the commit, for the head of a table that is made now."""
    return {"command": command, "made": datetime.now(UTC).date().isoformat(), "commit": _commit()}


def publish_tables(pages: Mapping[str, PageTable], figures: Sequence[Path]) -> None:
    """Write tables and figures of the results pages; an unchanged table keeps its day and commit."""
    for name, page in pages.items():
        path = FOLDER / "tables" / f"{name}.csv"
        if path.is_file():
            kept = PageTable.read(path)
            same = {key: kept.about[key] for key in ("made", "commit")}
            if kept == PageTable(page.about | same, page.table):
                continue
        write_text(path, page.file_text())
    (FOLDER / "figures").mkdir(parents=True, exist_ok=True)
    for figure in figures:
        shutil.copyfile(figure, FOLDER / "figures" / figure.name)


def cell_text(value: Any) -> str:
    """Return a cell as a page shows it."""
    if isinstance(value, Estimate):
        return estimate_text(value)
    if value is None:
        return "-"
    return format(value, ".4g") if isinstance(value, float) else str(value)


def _commit() -> str:
    told = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return told.stdout.strip() or "unknown"
