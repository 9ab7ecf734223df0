"""Figures of the compression study."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, StrMethodFormatter

from lightning_pz.common.plotting import BLUE, GRAY, legend, look, panels
from lightning_pz.common.statistics import NONE, Estimate, ends_are, mean_interval, read_estimate, share
from lightning_pz.compression.figures import method_label
from sweeps.compression.compression_grid import CompressionGrid, Level
from sweeps.compression.compression_tables import Summaries
from sweeps.compression.training_curves import TrainingCurve

_DENSE: dict[str, Any] = {"color": GRAY, "linestyle": ":"}


def agent_figure(grid: CompressionGrid, found: Summaries, agent: str, curve: TrainingCurve | None) -> Figure:
    """Draw the curve of an agent's training, if it is known, and what is left of its return by share of weights removed.

    Of the share of the dense policy's return; of returns themselves where the dense policy's is not clearly above 0.
    """
    figure, axes = panels(1, 1 if curve is None else 2, width=4.8 if curve is None else 8.6, height=3.8)
    runs = {
        method_label(method): [
            [found[Level(agent, method, removed, seed)] for seed in range(grid.seeds)] for removed in grid.sparsities
        ]
        for method in grid.methods
    }
    one = dict(next(run for level, run in found.items() if level.agent == agent))
    dense = read_estimate(one, "return_dense")
    if curve is not None:
        _draw_training(axes[0, 0], curve, dense)
    kept = {label: [share(*_columns(level)) for level in levels] for label, levels in runs.items()}
    shares = {label: [each.scaled(100.0) for each in own if each is not None] for label, own in kept.items()}
    label = "dense policy"
    if dense is not None and all(len(own) == len(grid.sparsities) for own in shares.values()):
        label += f", not exploring: a return of {_rounded(dense)} = 100 %"
        _draw_shares(axes[0, -1], grid.sparsities, shares, Estimate(100.0, math.nan, math.nan, NONE), label)
        axes[0, -1].set_ylabel(f"return, % of the dense policy's\n{_bars(shares).strip()}")
        axes[0, -1].set_ylim(bottom=min(0.0, axes[0, -1].get_ylim()[0]))
    else:
        returns = {label: [mean_interval(_columns(level)[0]) for level in levels] for label, levels in runs.items()}
        _draw_shares(axes[0, -1], grid.sparsities, returns, dense, label)
    axes[0, -1].set(title="after compression")
    figure.suptitle(f"{agent}: {one['weights']:,} weights, played in {one['env']}", fontsize=10)
    legend(figure, *axes[0, -1].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def learner_figure(grid: CompressionGrid, found: Summaries, name: str) -> Figure:
    """Draw return against the share of weights removed, while a network learns and afterwards."""
    learner = grid.learners[name]
    figure, axes = panels(1, 1, width=5.2, height=3.8)
    series = {
        f"{method_label(learner.method)} {when}": [
            mean_interval(
                _columns([found[Level(name, learner.method, removed, seed, way)] for seed in range(learner.seeds)])[0]
            )
            for removed in learner.sparsities
        ]
        for when, way in (("while it learns", True), ("afterwards", False))
    }
    runs = [found[Level(name, learner.method, learner.sparsities[0], seed)] for seed in range(learner.seeds)]
    _draw_shares(axes[0, 0], learner.sparsities, series, mean_interval(_columns(runs)[1]), "dense networks")
    axes[0, 0].set(title=f"{name}: {runs[0]['weights']:,} weights")
    legend(figure, loc="outside lower center", ncols=2)
    return figure


def _draw_training(axes: Axes, curve: TrainingCurve, dense: Estimate | None) -> None:
    """Draw the returns while a policy learned, beside what it returns now when it does not explore."""
    axes.plot(curve.steps, curve.returns, color=BLUE)
    if dense is not None:
        axes.axhline(dense.value, **_DENSE)
    axes.set(xlabel="environment steps", title="training")
    axes.set_ylabel(curve.label)
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))


def _draw_shares(
    axes: Axes, shares: Sequence[float], series: Mapping[str, Sequence[Estimate]], dense: Estimate | None, label: str
) -> None:
    """Draw means with intervals over shares that are evenly spaced, side by side, beside the return of what was compressed."""
    if dense is not None:
        ends = ends_are({dense.kind}, " (band: {})")
        if ends:
            axes.axhspan(dense.low, dense.high, color=GRAY, alpha=0.2, linewidth=0)
        axes.axhline(dense.value, **_DENSE, label=f"{label}{ends}")
    places = np.arange(len(shares))
    for number, (name, found) in enumerate(series.items()):
        value, low, high = np.array([one[:3] for one in found]).T
        style = look(number)
        axes.errorbar(
            places + 0.2 * (number - (len(series) - 1) / 2), value, yerr=np.nan_to_num([value - low, high - value]),
            label=name, color=style.color, marker=style.marker, linestyle=style.line, linewidth=1.1, markersize=4, capsize=2,
        )  # fmt: skip
    axes.set_xticks(places, [f"{share:.0%}" for share in shares])
    axes.set(xlabel="weights removed", ylabel=f"return{_bars(series)}")


def _bars(series: Mapping[str, Sequence[Estimate]]) -> str:
    return ends_are({one.kind for found in series.values() for one in found}, " (bars: {} over seeds)")


def _rounded(dense: Estimate) -> str:
    """Return a return with its ends, without those that are the same whole number."""
    ends = dense.ends(",.0f") if f"{dense.low:.0f}" != f"{dense.high:.0f}" else ""
    return f"{dense.value:,.0f}{ends}"


def _columns(runs: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the returns of runs, and of the dense networks on the same episodes, (runs,) each."""
    compressed, dense = (np.array([run[key] for run in runs], dtype=float) for key in ("return", "return_dense"))
    return compressed, dense
