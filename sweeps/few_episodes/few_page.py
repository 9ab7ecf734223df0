"""The page of the few-episode study: its tables and figures, written where `python -m sweeps results` reads them."""

from __future__ import annotations

import datetime
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lightning_pz.common.files import write_text
from lightning_pz.common.plotting import save_figure
from lightning_pz.common.tables import Table
from sweeps.few_episodes import few_figures, few_tables
from sweeps.few_episodes.few_grid import FewGrid
from sweeps.few_episodes.few_tables import TaskAnswers
from sweeps.results.pages import FOLDER, PageTable

_SHOWN = (0, 5, 20)
"""Episode counts of which the page has every contender's mean."""
_NONE = "none"


def publish(grid: FewGrid, found: Sequence[TaskAnswers], cells: int, folder: Path = FOLDER) -> None:
    """Write the tables and figures of the page."""
    runs = sum(len(each) for one in found for each in one.runs.values())
    note = f"{runs:,} runs; the study has {cells:,}" + ("" if runs < cells else ", all of which are finished")
    tables = {
        "few-count": (few_tables.count_table(grid, found), "permutation tests are two-sided and not corrected for their number"),
        "few-leads": (few_tables.leads_table(grid, found), f"{few_tables.SIGNIFICANT}: p <= 0.05 against each rival"),
        "few-claim": (few_tables.claim_table(grid, found), "mean return of the answer over the first episodes, best contender of each kind"),
    }  # fmt: skip
    for count in _SHOWN:
        tables[f"few-returns-{count}"] = means_table(grid, found, count), f"after {count} episodes; mean over runs"
    for name, (table, about) in tables.items():
        head = {
            "command": "python -m sweeps few_episodes --publish true", "made": datetime.date.today().isoformat(),
            "commit": _commit(), "seeds": "ten of ours on five growths, two to five of rivals", "machine": "two cores",
            "interval": _NONE, "note": f"{about}; {note}",
        }  # fmt: skip
        text = [[few_tables.cell_text(cell) for cell in row] for row in table.rows]
        write_text(folder / "tables" / f"{name}.csv", PageTable(head, Table(list(table.header), text)).file_text())
    save_figure(few_figures.return_curves(grid, found), folder / "figures" / "few_curves", dpi=110)
    save_figure(few_figures.lead_map(grid, found), folder / "figures" / "few_leads", dpi=110)


def means_table(grid: FewGrid, found: Sequence[TaskAnswers], count: int) -> Table:
    """Return the mean return of every contender after so many episodes, a row per task."""
    names = few_tables.names_of(grid, "ours", "rival")
    rows = []
    for one in found:
        each = [[row.answers[count] for row in one.runs.get(name, []) if count in row.answers] for name in names]
        rows.append(
            [one.label, *("-" if not values else f"{np.mean(values):.4g}" for values in each), f"{one.still:.4g}"]
        )
    return Table(["task", *names, "doing nothing"], rows)


def _commit() -> str:
    """Return the commit of the checkout that this package lies in, if it lies in one."""
    try:
        asked = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
