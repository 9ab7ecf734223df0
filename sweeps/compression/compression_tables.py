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
from sweeps.results.pages import ROWS_OF, PageTable
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

    Rows that it keeps, and those of this part whose numbers are what they were, keep the word of when and how they were made.

    Args:
        grid: The part that has run.
        found: Its runs.
        whole: All of the study; rows of networks that it has no more go.
        folder: Of the page's tables as they are.
    """
    pages = {}
    episodes, parts = next(iter(found.values()))["episodes"], [*grid.agents, *grid.learners]
    command = _command([] if parts == [*whole.agents, *whole.learners] else parts)
    now = made_today(command)
    for name, table in study_tables(grid, found).items():
        path, header = folder / f"compress-{name}.csv", list(table.header)
        before = PageTable.read(path) if path.is_file() else PageTable({}, Table(header, []))
        kept = _by_network(before.table.rows if list(before.table.header) == header else [])
        cells = [[_page_cell(head, cell) for head, cell in zip(header, row, strict=True)] for row in table.rows]
        ours, made = _by_network(cells), dict[str, str]()
        for one in kept:
            made[one] = before.about.get(f"{ROWS_OF}{one}") or _words_of(before.about, before.about["command"])
        for one, rows in ours.items():
            how = f"seeds: {_seeds(grid, name, one)}, episodes a run: {episodes}"
            # The same numbers once more are those of their day.
            if kept.get(one) != rows or f", {how}, " not in made[one]:
                made[one] = _words_of(now, command, how)
        known: Sequence[str] = [*(whole.agents if name == "grid" else whole.learners)]
        every = {one: (kept | ours)[one] for one in known if one in kept | ours}
        about = _about(name, now, {one: made[one] for one in every}, every)
        pages[f"compress-{name}"] = PageTable(about, Table(header, [row for rows in every.values() for row in rows]))
    return pages


def _by_network(rows: Sequence[Sequence[str]]) -> dict[str, list[list[str]]]:
    """Return the rows of each network, which the first cell names."""
    found: dict[str, list[list[str]]] = {}
    for row in rows:
        found.setdefault(row[0], []).append([*row])
    return found


def _seeds(grid: CompressionGrid, table: str, network: str) -> int:
    return grid.seeds if table == "grid" else grid.learners[network].seeds


def _command(networks: Sequence[str]) -> str:
    return shlex.join(["python", "-m", "sweeps", "compression", *(["--agent", *networks] if networks else [])])


def _words_of(about: Mapping[str, str], command: str, how: str | None = None) -> str:
    """Return when and how rows were made."""
    return ", ".join(filter(None, (about["made"], f"commit {about['commit']}", how, f"by `{command}`")))


def _about(
    table: str, now: Mapping[str, str], made: Mapping[str, str], rows: Mapping[str, Sequence[Sequence[str]]]
) -> dict[str, str]:
    """Return what a table of the page says of itself: `made` says when and how the rows of each network were made.

    The command is one that makes all of it.
    """
    cells = [cell for own in rows.values() for row in own for cell in row]
    kinds = [kind for kind, mark in ((STUDENT, " ["), (RANGE, " (")) if any(mark in cell for cell in cells)]
    return {
        **now,
        "command": _command([*rows]),
        "seeds": "of the distillation, one agent each" if table == "grid" else "of everything",
        "machine": "two shared cores",
        "interval": "none",
        "note": f"fresh episodes, the same for the dense policy; ends: {ends_are(kinds)} over seeds",
        **{f"{ROWS_OF}{one}": words for one, words in made.items()},
    }


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
