"""Figures of a comparison: learning curves that stay distinct in gray print."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from lightning_pz.common.plotting import BLACK, GRAY, legend, look, panels, single
from lightning_pz.common.statistics import NONE, ends_are
from lightning_pz.comparison.analysis import Curve, Task, curve_of
from lightning_pz.comparison.labels import ALGORITHM_LABELS
from lightning_pz.comparison.wins import Round


def contender_places(names: Sequence[str]) -> dict[str, int]:
    """Return the place of each contender's look: plain algorithms have the same in every report, others what is free."""
    plain = {label: place for place, label in enumerate(ALGORITHM_LABELS.values())}
    places = {name: plain[name] for name in names if name in plain}
    free = (place for place in itertools.count() if place not in places.values())
    return places | {name: next(free) for name in names if name not in plain}


def learning_curves(task: Task, places: dict[str, int]) -> Figure:
    """Draw return against environment steps: interquartile mean and band of each contender, in the look at its place."""
    figure, axes = single(width=6.2)
    for entry in task.entries:
        label = f"{entry.contender} ({len(entry.runs)})"
        _draw_curve(axes, task.grid, entry.curve, places[entry.contender], label)
    pool = [number for number in task.pool[:3] if np.isfinite(number)] if task.pool else []
    if task.pool is not None:
        value, low, high, kind = task.pool
        label = "best in the pool" + ends_are({kind}, " ({})")
        axes.axhline(value, color=BLACK, linewidth=1, label=label, zorder=2)
        if kind != NONE:
            axes.axhspan(low, high, facecolor="none", edgecolor=GRAY, alpha=0.3, hatch="///", linewidth=0)
    bottom, cut = _bottom(task, [task.best, *pool])
    drawn = [values for entry in task.entries for values in (entry.curve.high, entry.curve.value)]
    top = float(np.nanmax(np.concatenate([*drawn, pool, [bottom]])))
    # Matplotlib's own margin would grow with what is cut off.
    axes.set_ylim(bottom, top + 0.05 * _span(bottom, top))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set(xlabel="environment steps", ylabel="return", title=task.label, xlim=(0, task.grid[-1]))
    band = ends_are({entry.curve.kind for entry in task.entries}, "; band: {}")
    _legend(figure, axes, "algorithm (seeds)" + band + (f"; curves continue below {bottom:.3g}" if cut else ""))
    return figure


def overview(tasks: Sequence[Task], result: Round, places: dict[str, int]) -> Figure:
    """Draw all tasks in one: normalized return against the share of the budget, and the areas beneath.

    Left, the interquartile mean over equally many runs of every task, as far as a contender was given budget on all, and
    once each of its runs has been evaluated. Right, the area under each run's own curve.
    """
    ranked = sorted(result.standings, key=lambda standing: standing.area.value)
    named = [standing.contender for standing in ranked]
    figure, ((left, right),) = panels(1, 2, width=8.4, height=max(3.4, 1.0 + 0.4 * len(ranked)), ratios=(1.4, 1.0))
    share = np.linspace(0, 100, len(tasks[0].grid))
    kinds = set()
    for name, place in places.items():
        strata = [entry.scores for task in tasks for entry in task.entries if entry.contender == name]
        if len(strata) == len(tasks):
            curve = curve_of(strata)
            kinds.add(curve.kind)
            # The right side names the others.
            _draw_curve(left, share, curve, place, "" if name in named else name)
    left.set(xlabel="environment steps (% of the budget)", ylabel="normalized return", xlim=(0, 100))
    over = f"interquartile mean over {len(tasks)} task{'s' * (len(tasks) > 1)}"
    left.set_title(over + ends_are(kinds, ", band: {}"), fontsize=9)
    low, high = left.get_ylim()
    left.set_ylim(max(low, -0.25), min(high, 1.15))
    for row, standing in enumerate(ranked):
        color, _, marker = look(places[standing.contender])
        right.plot(standing.area[1:3], [row, row], color=color, linewidth=2.5, solid_capstyle="butt")
        right.plot(standing.area.value, row, marker=marker, color=color, markersize=6)
    broken = [re.sub(r" (from|\()|, (?!k |seed )", r"\n\1", name) for name in named]
    right.set_yticks(range(len(ranked)), broken, fontsize=8)
    right.set(xlabel="area under the curve", ylim=(-0.6, max(len(ranked), 1) - 0.4))
    line = ends_are({standing.area.kind for standing in ranked}, ", line: {}")
    right.set_title("interquartile mean" + line, fontsize=9)
    right.grid(axis="x", color="#DDDDDD", linewidth=0.6)
    _legend(figure, left, None)
    return figure


def _draw_curve(axes: Axes, x: np.ndarray, curve: Curve, place: int, label: str) -> None:
    color, line, marker = look(place)
    # A marker now and then, not all at the same place: in gray print neighbors differ by more than their dashes.
    # Markers at shares of the axes need a point to begin at, which a run that was never measured in time does not have.
    every = (0.04 + 0.013 * (place % 10), 0.17) if np.isfinite(curve.value).any() else None
    axes.step(
        x, curve.value, where="post", color=color, linestyle=line, linewidth=1.5, label=label,
        marker=marker, markevery=every, markersize=4, zorder=3,
    )  # fmt: skip
    axes.fill_between(x, curve.low, curve.high, step="post", color=color, alpha=0.15, linewidth=0)


def _bottom(task: Task, ends: list[float]) -> tuple[float, bool]:
    """Return where the return axis begins, and whether curves continue below.

    First policies can be so bad that they hide all else: nine tenths of each curve and the given ends stay in sight.
    """
    # Without a band, the curve itself.
    lows = [np.where(np.isnan(entry.curve.low), entry.curve.value, entry.curve.low) for entry in task.entries]
    known = [values for low in lows if len(values := low[~np.isnan(low)])] + [np.array(ends)]
    lowest, usual = (min(float(np.quantile(values, share)) for values in known) for share in (0.0, 0.1))
    span = _span(usual, task.best)
    if lowest < usual - span:
        return usual - 0.25 * span, True
    return lowest - 0.04 * _span(lowest, task.best), False


def _span(low: float, high: float) -> float:
    """Return how far apart two ends of an axis are, never so little that rounding makes them one."""
    return max(high - low, 1e-9, 1e-6 * max(abs(low), abs(high)))


def _legend(figure: Figure, axes: Axes, title: str | None) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        # As many columns as fit: labels are about 0.075 inches a letter wide, and a line sample 0.6 inches.
        columns = max(1, min(4, len(handles), int(figure.get_figwidth() / (0.6 + 0.075 * max(map(len, labels))))))
        legend(figure, handles, labels, loc="outside lower center", ncols=columns, title=title, handlelength=4)
