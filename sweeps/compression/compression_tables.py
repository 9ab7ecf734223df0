"""Table and figures of the compression study."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from lightning_pz.common.plotting import BLUE, GRAY, legend, look, panels
from lightning_pz.common.statistics import ends_are, mean_interval, read_estimate
from lightning_pz.common.tables import Table
from lightning_pz.compression.figures import method_label
from sweeps.compression.compression_command import CompressionGrid, Level
from sweeps.results.pages import PageTable
from sweeps.results.publishing import cell_text, made_today

_Found = Mapping[Level, Mapping[str, Any]]
_CURVE = "rollout/ep_rew_mean"


def compression_table(grid: CompressionGrid, found: _Found) -> Table:
    """Return a row for each agent, method and share: what is kept of the return, and how small the file is.

    Returns are means over seeds of the distillation; what is kept is the share of the dense policy's return on the same
    episodes, and what a file is smaller counts indices, scales and header. The paper's ratio counts surviving weights only.
    """
    header = ["agent", "method", "removed", "return", "kept", "behavior FVU", "file, bytes", "float32 over file", "paper's ratio"]  # fmt: skip
    rows: list[list[Any]] = []
    for agent in grid.agents:
        for method in grid.methods:
            for sparsity in grid.sparsities:
                runs = _runs(found, agent, method, sparsity)
                mean = {key: float(np.mean([run[key] for run in runs])) for key in ("behavior_fvu", "bytes_file", "file_ratio", "paper_ratio")}  # fmt: skip
                kept = [run["return_kept"] for run in runs]
                rows.append([
                    agent, method_label(method), f"{sparsity:.0%}", mean_interval(_column(runs, "return")),
                    None if None in kept else mean_interval(np.array(kept)), mean["behavior_fvu"], round(mean["bytes_file"]),
                    mean["file_ratio"], mean["paper_ratio"],
                ])  # fmt: skip
    formats = {"kept": ".1%", "behavior FVU": ".4f", "file, bytes": ",", "float32 over file": ".1f"}
    return Table(header, rows, formats | {"paper's ratio": ".1f"})


def grid_pages(grid: CompressionGrid, found: _Found, study: str) -> dict[str, PageTable]:
    """Return the table of the results page."""
    table = compression_table(grid, found)
    rows = []
    for row in table.rows:
        cells = [cell_text(cell) for cell in row]
        kept = row[4]
        if kept is not None:
            cells[4] = f"{kept.value:.1%}{kept.ends('.1%')}"
        cells[5:] = f"{row[5]:.4f}", f"{row[6]:,}", f"{row[7]:.1f}", f"{row[8]:.1f}"
        rows.append(cells)
    seeds = next(iter(found.values()))
    kinds = {row[3].kind for row in table.rows}
    about = made_today(f"python -m sweeps {study}") | {
        "seeds": f"{grid.seeds} of the distillation, one agent each", "machine": "two shared cores",
        "interval": "none",
        "note": f"{seeds['episodes']} fresh episodes a run, the same for the dense policy; (...) {ends_are(kinds)} over seeds",
    }  # fmt: skip
    return {"compress-grid": PageTable(about, Table(list(table.header), rows))}


def agent_figure(grid: CompressionGrid, found: _Found, agent: str, trained: Path | None) -> Figure:
    """Draw the curve of an agent's training, if it was trained here, and its return against the share of weights removed."""
    curve = None if trained is None else _curve(trained)
    figure, axes = panels(1, 1 if curve is None else 2, width=4.8 if curve is None else 8.6, height=3.6)
    right = axes[0, -1]
    if curve is not None:
        left = axes[0, 0]
        left.plot(*curve, color=BLUE)
        left.set(xlabel="environment steps", ylabel="return (mean of 100 episodes)", title="training")
        left.xaxis.set_major_formatter(EngFormatter())
    kinds = set()
    runs = [run for level, run in found.items() if level.agent == agent]
    if (dense := read_estimate(dict(runs[0]), "return_dense")) is not None:
        right.axhspan(dense.low, dense.high, color=GRAY, alpha=0.2, linewidth=0)
        right.axhline(dense.value, color=GRAY, linestyle=":", label=f"dense policy (band: {ends_are({dense.kind})})")
    places = np.arange(len(grid.sparsities))
    for number, method in enumerate(grid.methods):
        found_here = [mean_interval(_column(_runs(found, agent, method, s), "return")) for s in grid.sparsities]
        kinds |= {one.kind for one in found_here}
        value, low, high = np.array([one[:3] for one in found_here]).T
        style = look(number)
        right.errorbar(
            places + 0.08 * (number - (len(grid.methods) - 1) / 2), value, yerr=np.nan_to_num([value - low, high - value]),
            label=method_label(method), color=style.color, marker=style.marker, linestyle=style.line, markersize=4, capsize=2,
        )  # fmt: skip
    right.set_xticks(places, [f"{sparsity:.0%}" for sparsity in grid.sparsities])
    bars = f" (bars: {ends} over seeds)" if (ends := ends_are(kinds)) else ""
    right.set(xlabel="weights removed", ylabel=f"return{bars}", title="after compression")
    figure.suptitle(f"{agent}: {runs[0]['weights']:,} weights", fontsize=10)
    legend(figure, loc="outside lower center", ncols=2)
    return figure


def _runs(found: _Found, agent: str, method: str, sparsity: float) -> list[Mapping[str, Any]]:
    return [
        run for level, run in found.items() if (level.agent, level.method, level.sparsity) == (agent, method, sparsity)
    ]


def _column(runs: list[Mapping[str, Any]], key: str) -> np.ndarray:
    return np.array([run[key] for run in runs], dtype=float)


def _curve(folder: Path) -> tuple[list[int], list[float]] | None:
    """Return steps and returns that Stable-Baselines3 logged while it trained, or None of a run without metrics.csv."""
    path = folder / "metrics.csv"
    if not path.is_file():
        return None
    with path.open(newline="") as file:
        rows = [(int(row["step"]), float(row[_CURVE])) for row in csv.DictReader(file) if row.get(_CURVE)]
    return ([step for step, _ in rows], [value for _, value in rows]) if rows else None
