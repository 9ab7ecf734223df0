"""Tables of the compression study."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightning_pz.common.statistics import RANGE, STUDENT, Estimate, ends_are, mean_interval, share
from lightning_pz.common.tables import Table
from lightning_pz.compression.figures import method_label
from sweeps.compression.compression_grid import CompressionGrid, Level
from sweeps.results.pages import PageTable
from sweeps.results.publishing import cell_text, made_today

Summaries = Mapping[Level, Mapping[str, Any]]
"""The summaries of the runs of `compress`."""
_FORMATS = {
    "kept": ".1%", "behavior FVU": ".4f", "file, bytes": ",", "float32 over file": ".1f", "paper's ratio": ".1f",
}  # fmt: skip


def study_tables(grid: CompressionGrid, found: Summaries) -> dict[str, Table]:
    """Return the tables that this part of the study has: `grid` of agents, `learned` of learners."""
    tables = {"grid": compression_table(grid, found)} if grid.agents else {}
    return tables | ({"learned": learned_table(grid, found)} if grid.learners else {})


def compression_table(grid: CompressionGrid, found: Summaries) -> Table:
    """Return a row for each agent, method and share: what is kept of the return, and how small the file is.

    Returns are means over seeds of the distillation; what is kept is the share of the dense policy's return on the same
    episodes, and what a file is smaller counts indices, scales and header. The paper's ratio counts surviving weights only.
    """
    header = ["agent", "method", "removed", "return", "kept", "behavior FVU", "file, bytes", "float32 over file", "paper's ratio"]  # fmt: skip
    rows: list[list[Any]] = []
    for agent in grid.agents:
        for method in grid.methods:
            for sparsity in grid.sparsities:
                runs = [found[Level(agent, method, sparsity, seed)] for seed in range(grid.seeds)]
                rows.append([
                    agent, method_label(method), f"{sparsity:.0%}", mean_interval(_column(runs, "return")), _kept(runs),
                    _mean(runs, "behavior_fvu"), round(_mean(runs, "bytes_file")), _mean(runs, "file_ratio"),
                    _mean(runs, "paper_ratio"),
                ])  # fmt: skip
    return Table(header, rows, _FORMATS)


def learned_table(grid: CompressionGrid, found: Summaries) -> Table:
    """Return a row for each learner, share and way: while it learns, or afterwards from the dense networks.

    Returns are means over seeds of everything, each beside a dense network of the same seed on the same episodes.
    """
    header = ["network", "method", "when", "removed", "dense return", "return", "kept", "file, bytes", "float32 over file", "CPU seconds"]  # fmt: skip
    rows: list[list[Any]] = []
    for name, one in grid.learners.items():
        for removed in one.shares:
            for while_learning in (True,) if removed is None else (True, False):
                runs = [found[Level(name, one.method, removed, seed, while_learning)] for seed in range(one.seeds)]
                rows.append([
                    name, method_label(one.method), "while it learns" if while_learning else "afterwards",
                    f"{_mean(runs, 'sparsity'):.1%}", mean_interval(_column(runs, "return_dense")),
                    mean_interval(_column(runs, "return")), _kept(runs), round(_mean(runs, "bytes_file")),
                    _mean(runs, "file_ratio"), round(_mean(runs, "cpu_seconds")),
                ])  # fmt: skip
    return Table(header, rows, _FORMATS)


def compression_pages(
    grid: CompressionGrid, found: Summaries, whole: CompressionGrid, folder: Path
) -> dict[str, PageTable]:
    """Return the tables of the results page; of networks that this part of the study leaves out, the page keeps its rows.

    Args:
        grid: The part that has run.
        found: Its runs.
        whole: All of the study; rows of networks that it has no more go.
        folder: Of the page's tables as they are.
    """
    pages = {}
    episodes = next(iter(found.values()))["episodes"]
    for name, table in study_tables(grid, found).items():
        path, header = folder / f"compress-{name}.csv", list(table.header)
        rows = [[_page_cell(head, cell) for head, cell in zip(header, row, strict=True)] for row in table.rows]
        before = PageTable.read(path).table if path.is_file() else Table(header, [])
        ours = {row[0] for row in rows}
        rows += [list(row) for row in before.rows if row[0] not in ours and list(before.header) == header]
        known: Sequence[str] = [*(whole.agents if name == "grid" else whole.learners)]
        networks = [one for one in known if one in {row[0] for row in rows}]
        every = [row for one in networks for row in rows if row[0] == one]
        pages[f"compress-{name}"] = PageTable(_about(name, whole, networks, every, episodes), Table(header, every))
    return pages


def _about(
    name: str, whole: CompressionGrid, networks: Sequence[str], rows: Sequence[Sequence[str]], episodes: int
) -> dict[str, str]:
    """Return what a table of the page says of itself."""
    seeds = f"{whole.seeds} of the distillation, one agent each"
    if name == "learned":
        seeds = ", ".join(f"{whole.learners[one].seeds} of {one}" for one in networks)
    cells = [cell for row in rows for cell in row]
    kinds = [kind for kind, mark in ((STUDENT, " ["), (RANGE, " (")) if any(mark in cell for cell in cells)]
    note = f"{episodes} fresh episodes a run, the same for the dense policy; ends: {ends_are(kinds)} over seeds"
    command = shlex.join(["python", "-m", "sweeps", "compression", "--agent", *networks])
    return made_today(command) | {"seeds": seeds, "machine": "two shared cores", "interval": "none", "note": note}


def _page_cell(head: str, cell: Any) -> str:
    form = _FORMATS.get(head)
    if isinstance(cell, Estimate) and form is not None:
        return f"{cell.value:{form}}{cell.ends(form)}"
    return cell_text(cell) if form is None or cell is None or isinstance(cell, str) else format(cell, form)


def _kept(runs: Sequence[Mapping[str, Any]]) -> Estimate | None:
    """Return the share of the dense networks' return that all seeds together keep.

    Of their means: where every seed has a dense network of its own, a mean of shares would be that of the poorest one.
    """
    return share(_column(runs, "return"), _column(runs, "return_dense"))


def _mean(runs: Sequence[Mapping[str, Any]], key: str) -> float:
    return float(np.mean([run[key] for run in runs]))


def _column(runs: Sequence[Mapping[str, Any]], key: str) -> np.ndarray:
    return np.array([run[key] for run in runs], dtype=float)
