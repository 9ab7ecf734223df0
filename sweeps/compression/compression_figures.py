"""Figures of the compression study."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from lightning_pz.common.plotting import BLUE, GRAY, legend, look, panels
from lightning_pz.common.statistics import Estimate, ends_are, mean_interval, read_estimate
from lightning_pz.compression.figures import method_label
from sweeps.compression.compression_grid import CompressionGrid, Level
from sweeps.compression.compression_tables import Summaries

_CURVE = "rollout/ep_rew_mean"


def agent_figure(grid: CompressionGrid, found: Summaries, agent: str, trained: Path | None) -> Figure:
    """Draw the curve of an agent's training, if it was trained here, and its return against the share of weights removed."""
    curve = None if trained is None else _curve(trained)
    figure, axes = panels(1, 1 if curve is None else 2, width=4.8 if curve is None else 8.6, height=3.6)
    right = axes[0, -1]
    if curve is not None:
        left = axes[0, 0]
        left.plot(*curve, color=BLUE)
        left.set(xlabel="environment steps", ylabel="return (mean of 100 episodes)", title="training")
        left.xaxis.set_major_formatter(EngFormatter())
    series = {
        method_label(method): [
            _mean([Level(agent, method, share, seed) for seed in range(grid.seeds)], found) for share in grid.sparsities
        ]
        for method in grid.methods
    }
    one = dict(next(run for level, run in found.items() if level.agent == agent))
    dense = read_estimate(one, "return_dense")
    _draw_shares(right, grid.sparsities, series, dense, "dense policy")
    right.set(title="after compression")
    figure.suptitle(f"{agent}: {one['weights']:,} weights", fontsize=10)
    legend(figure, loc="outside lower center", ncols=2)
    return figure


def learner_figure(grid: CompressionGrid, found: Summaries, name: str) -> Figure:
    """Draw return against the share of weights removed, while a network learns and afterwards."""
    learner = grid.learners[name]
    figure, axes = panels(1, 1, width=4.8, height=3.6)
    series = {
        label: [
            _mean([Level(name, learner.method, share, seed, way) for seed in range(learner.seeds)], found)
            for share in learner.sparsities
        ]
        for label, way in (("while it learns", True), ("afterwards", False))
    }
    runs = [found[Level(name, learner.method, learner.sparsities[0], seed)] for seed in range(learner.seeds)]
    dense = mean_interval(np.array([run["return_dense"] for run in runs]))
    _draw_shares(axes[0, 0], learner.sparsities, series, dense, "dense networks")
    axes[0, 0].set(title=f"{name}, {method_label(learner.method)}: {runs[0]['weights']:,} weights")
    legend(figure, loc="outside lower center", ncols=2)
    return figure


def _draw_shares(
    axes: Axes, shares: Sequence[float], series: Mapping[str, Sequence[Estimate]], dense: Estimate | None, label: str
) -> None:
    """Draw means with intervals over shares that are evenly spaced, beside the return of what was compressed."""
    if dense is not None:
        axes.axhspan(dense.low, dense.high, color=GRAY, alpha=0.2, linewidth=0)
        axes.axhline(dense.value, color=GRAY, linestyle=":", label=f"{label} (band: {ends_are({dense.kind})})")
    places = np.arange(len(shares))
    for number, (name, found) in enumerate(series.items()):
        value, low, high = np.array([one[:3] for one in found]).T
        style = look(number)
        axes.errorbar(
            places + 0.08 * (number - (len(series) - 1) / 2), value, yerr=np.nan_to_num([value - low, high - value]),
            label=name, color=style.color, marker=style.marker, linestyle=style.line, markersize=4, capsize=2,
        )  # fmt: skip
    axes.set_xticks(places, [f"{share:.0%}" for share in shares])
    ends = ends_are({one.kind for found in series.values() for one in found})
    axes.set(xlabel="weights removed", ylabel=f"return{f' (bars: {ends} over seeds)' if ends else ''}")


def _mean(levels: Sequence[Level], found: Summaries) -> Estimate:
    return mean_interval(np.array([found[level]["return"] for level in levels], dtype=float))


def _curve(folder: Path) -> tuple[list[int], list[float]] | None:
    """Return steps and returns that Stable-Baselines3 logged while it trained, or None of a run without metrics.csv."""
    path = folder / "metrics.csv"
    if not path.is_file():
        return None
    with path.open(newline="") as file:
        rows = [(int(row["step"]), float(row[_CURVE])) for row in csv.DictReader(file) if row.get(_CURVE)]
    return ([step for step, _ in rows], [value for _, value in rows]) if rows else None
