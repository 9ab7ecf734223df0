"""Figures of the few-episode study and its kin: return against episodes or steps of a task, or against those of the growth."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter

from lightning_pz.common.plotting import (
    BLACK,
    BLUE,
    BROWN,
    GRAY,
    GREEN,
    OLIVE,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    Look,
    legend,
    look,
    panels,
)
from lightning_pz.common.statistics import Estimate, ends_are, mean_interval
from sweeps.few_episodes.few_grid import RIVALS, FewGrid
from sweeps.few_episodes.few_tables import TaskAnswers, count_text, names_of
from sweeps.few_episodes.lead_figure import FROM_SCRATCH, lead_map

__all__ = ["lead_map", "pretraining_curves", "return_curves"]

_COLUMNS = (4, 5)
_OURS = (BLUE, GREEN, SKY, "#1B2A6B", "#44AA99", "#6A51A3", BLACK, "#999999")  # cool colors, and gray ones
_THEIRS = (RED, ORANGE, BROWN, PURPLE, OLIVE)  # warm ones
_STILL: dict[str, Any] = {"color": GRAY, "linewidth": 0.8, "linestyle": ":"}
_LONE: dict[str, Any] = {"linestyle": "none", "markersize": 3.5, "markerfacecolor": "none", "markeredgewidth": 0.7}
_APART = 1.09  # how many times as far to the right what is drawn side by side stands
_HEADS = {"ours": "ours"} | FROM_SCRATCH
_Groups = Mapping[str, Mapping[str, Artist]]  # handles of a legend by heading and label


class _Point(NamedTuple):
    """What a contender's runs return at one count."""

    place: int  # of the count on the axis
    runs: int
    mean: Estimate


def return_curves(grid: FewGrid, found: Sequence[TaskAnswers]) -> Figure:
    """Draw mean return against episodes or steps, a panel per task; counts are evenly apart, to the last that a run reached.

    The best of ours, of tuned rivals and of default ones are bold, with a band. A single run is an open marker, no curve.
    """
    looks = {name: own for name, own in _looks(grid).items() if any(name in one.runs for one in found)}
    reached = {count for one in found for name in looks for row in one.runs.get(name, []) for count in row.answers}
    at = [count for count in grid.at if count in reached]
    figure, axes = _task_panels(len(found), height=2.3)
    kinds: set[str] = set()
    for axis, one in zip(axes.flat, found, strict=False):
        curves = {name: _points(one, name, at) for name in looks if name in one.runs}
        strongest = _strongest(grid, curves)
        for name, points in curves.items():
            kinds |= _draw_curve(axis, points, looks[name], name in strongest)
        if math.isfinite(one.still):
            axis.axhline(one.still, **_STILL)
        axis.set_title(one.label, fontsize=8)
        axis.set_xticks(range(len(at)), [count_text(count) for count in at])
        axis.tick_params(labelsize=7)
        _bound(axis, one, curves)
    signs: dict[str, Artist] = {"doing nothing": Line2D([], [], **_STILL)}
    if kinds:
        band = "bold: best of its group at its end" + ends_are(kinds, "\nband over runs: {}").replace(", ", ",\n")
        signs[band] = Patch(color=GRAY, alpha=0.3, linewidth=0)
    if any(point.runs == 1 for one in found for name in looks for point in _points(one, name, at)):
        signs["open, without a line: a single run"] = Line2D([], [], **_LONE, color=GRAY, marker="o")
    several = [[point.runs for point in _points(one, name, at) if point.runs > 1] for one in found for name in looks]
    if any(len(set(runs)) > 1 for runs in several):
        signs["a gap in a curve: fewer runs behind it"] = Line2D([], [], linestyle="")
    groups = {
        head: {
            name: Line2D([], [], color=own.color, linestyle=own.line, marker=own.marker, markersize=4, linewidth=1.5)
            for name, own in looks.items()
            if grid.contenders[name].kind == kind
        }
        for kind, head in _HEADS.items()
    }
    _legend_beside(axes, len(found), {head: each for head, each in groups.items() if each} | {"in every panel": signs})
    episodes = grid.finetune.get("answer_episodes", 50)
    figure.supxlabel(f"{grid.by} of the new task (0: before the first)", fontsize=9)
    figure.supylabel(f"return of the answer, {episodes} fresh episodes", fontsize=9)
    return figure


def pretraining_curves(grid: FewGrid, found: Sequence[TaskAnswers]) -> Figure:
    """Draw mean return after some episodes against the steps of the growth, a panel per task, beside rivals at their ends."""
    figure, axes = _task_panels(len(found), height=2.8)
    kinds: set[str] = set()
    for axis, one in zip(axes.flat, found, strict=False):
        pools = grid.environments[one.env].pools
        ours = [name for name in names_of(grid, "ours") if name in one.runs]
        steps = {name: pools[grid.contenders[name].pool].fit["data.grown.steps"] for name in ours}
        for number, count in enumerate(grid.decisive):
            ends = {
                steps[name]: mean_interval(np.array(values))
                for name in ours
                if (values := [row.answers[count] for row in one.runs[name] if count in row.answers])
            }
            # Side by side, since a few episodes often change nothing.
            x = [at * _APART ** (number - (len(grid.decisive) - 1) / 2) for at in sorted(ends)]
            label = "before the first episode" if count == 0 else f"after {count} episodes"
            kinds |= _draw_bars(axis, x, [ends[at] for at in sorted(ends)], look(number), label)
        last, texts = max(steps.values()), {}
        for number, name in enumerate(name for name in names_of(grid, *RIVALS) if name in one.runs):
            end = mean_interval(np.array([row.end for row in one.runs[name]]))
            own = look(len(grid.decisive) + number)
            kinds |= _draw_bars(axis, [last * 1.45 * 1.25**number], [end], own, None)
            axis.axhline(end.value, color=own.color, linewidth=0.9, linestyle=":")
            texts[name.replace(", ", "\n")] = (end.value, own.color)
        axis.set_xscale("log")
        axis.set_xticks(sorted(set(steps.values())))
        axis.xaxis.set_major_formatter(EngFormatter())
        axis.minorticks_off()
        axis.set_title(one.label, fontsize=8)
        axis.tick_params(labelsize=7)
        _name_lines(axis, texts)
    entries = dict(zip(*axes[0, 0].get_legend_handles_labels()[::-1], strict=True))
    _legend_beside(axes, len(found), {"return of the answer": entries})
    bars = ends_are(kinds, "; bars: {} over runs")
    figure.supxlabel(f"environment steps of the growth, without reward{bars}", fontsize=9)
    figure.supylabel("return of the answer, fresh episodes", fontsize=9)
    return figure


def _looks(grid: FewGrid) -> dict[str, Look]:
    """Return how contenders are drawn, by group: ours in cool colors, rivals in one for each algorithm, dashed with defaults."""
    names = [name for kind in _HEADS for name in names_of(grid, kind)]
    algorithms = list(dict.fromkeys(grid.contenders[name].finetune["algorithm"] for name in names_of(grid, *RIVALS)))
    looks = {}
    for number, name in enumerate(names):
        contender = grid.contenders[name]
        is_ours = contender.kind == "ours"
        place = number if is_ours else algorithms.index(contender.finetune["algorithm"])
        colors = _OURS if is_ours else _THEIRS
        line = (0, (3, 1.2)) if contender.kind == "default" else "-"
        looks[name] = Look(colors[place % len(colors)], line, look(place).marker)
    return looks


def _points(one: TaskAnswers, name: str, at: Sequence[int]) -> list[_Point]:
    rows = one.runs.get(name, [])
    every = [np.array([row.answers[count] for row in rows if count in row.answers]) for count in at]
    return [_Point(place, len(each), mean_interval(each)) for place, each in enumerate(every) if len(each)]


def _strongest(grid: FewGrid, curves: Mapping[str, Sequence[_Point]]) -> set[str]:
    """Return the contender of each kind with the highest mean of several runs at the end of its curve."""
    best: dict[str, tuple[float, str]] = {}
    for name, points in curves.items():
        ends = [point.mean.value for point in points if point.runs > 1]
        kind = grid.contenders[name].kind
        if ends and (kind not in best or ends[-1] > best[kind][0]):
            best[kind] = ends[-1], name
    return {name for _, name in best.values()}


def _draw_curve(axis: Axes, points: Sequence[_Point], own: Look, is_bold: bool) -> set[str]:
    """Draw means of several runs as a curve, with a band if it is bold, and single runs apart; return the kinds of its ends.

    The curve has a gap where other runs follow: a mean of fewer is no continuation of one of more.
    """
    alone, several = ([point for point in points if (point.runs == 1) == is_alone] for is_alone in (True, False))
    axis.plot(*_places(alone), **_LONE, color=own.color, marker=own.marker)
    style: dict[str, Any] = {"color": own.color, "linestyle": own.line, "marker": own.marker}
    bold, plain = {"linewidth": 2.0, "markersize": 4, "zorder": 3}, {"linewidth": 0.8, "markersize": 2.5, "alpha": 0.6}
    for _, part in itertools.groupby(several, key=lambda point: point.runs):
        unbroken = list(part)
        x, means = _places(unbroken)
        axis.plot(x, means, **style | (bold if is_bold else plain))
        if is_bold:
            lows, highs = [point.mean.low for point in unbroken], [point.mean.high for point in unbroken]
            axis.fill_between(x, lows, highs, color=own.color, alpha=0.15, linewidth=0)
    return {point.mean.kind for point in several} if is_bold else set()


def _places(points: Sequence[_Point]) -> tuple[list[int], list[float]]:
    return [point.place for point in points], [point.mean.value for point in points]


def _draw_bars(axis: Axes, x: Sequence[float], ends: Sequence[Estimate], own: Look, label: str | None) -> set[str]:
    """Draw numbers with bars; return the kinds of the bars."""
    value, low, high = np.array([end[:3] for end in ends]).reshape(-1, 3).T
    axis.errorbar(
        x, value, np.nan_to_num([value - low, high - value]), color=own.color, linestyle=own.line, marker=own.marker,
        linewidth=0.9, elinewidth=1.1, markersize=4, capsize=2, label=label,
    )  # fmt: skip
    return {end.kind for end in ends}


def _name_lines(axis: Axes, texts: Mapping[str, tuple[float, str]]) -> None:
    """Write the names of horizontal lines, with their places and colors, to the right of them, one above the other."""
    low, high = axis.get_ylim()
    ordered = sorted(texts.items(), key=lambda item: item[1][0])
    wanted = [(value - low) / (high - low) for _, (value, _) in ordered]
    places: list[float] = []
    for place in wanted:
        places.append(max(place, places[-1] + 0.13) if places else place)
    shift = float(np.mean(places) - np.mean(wanted)) if places else 0.0
    for (text, (_, color)), place in zip(ordered, places, strict=True):
        axis.text(1.02, place - shift, text, transform=axis.transAxes, color=color, fontsize=6, va="center")


def _bound(axis: Axes, one: TaskAnswers, curves: Mapping[str, Sequence[_Point]]) -> None:
    """Show all means, and bands downwards no further than a quarter of the means' range, lest they press the curves together."""
    means = [point.mean.value for points in curves.values() for point in points]
    means += [one.still] * math.isfinite(one.still)
    if means:
        room = max(0.25 * (max(means) - min(means)), 1e-9)
        axis.set_ylim(bottom=max(axis.get_ylim()[0], min(means) - room))


def _task_panels(tasks: int, height: float) -> tuple[Figure, np.ndarray]:
    """Make a panel of some height, in inches, for each task, and one for the legend."""
    # So many columns that the legend does not have a row of its own.
    columns = min(next((count for count in _COLUMNS if tasks % count), _COLUMNS[0]), tasks + 1)
    rows = math.ceil((tasks + 1) / columns)
    return panels(rows, columns, width=3.0 * columns, height=max(height * rows, 3.2))


def _legend_beside(axes: np.ndarray, panels_drawn: int, groups: _Groups) -> None:
    """Draw one legend for all panels in place of the empty ones, so many columns as they are; the last one holds the rest."""
    rest = axes.flat[panels_drawn:]
    row, column = divmod(panels_drawn, axes.shape[1])
    spot = rest[0].figure.add_subplot(rest[0].get_gridspec()[row, column:])
    for axis in (*rest, spot):
        axis.axis("off")
    blank = ("", Line2D([], [], linestyle="none"))
    blocks = [[(head, blank[1]), *group.items()] for head, group in groups.items()]
    last = min(len(rest), len(blocks)) - 1
    columns = [*blocks[:last], [entry for block in blocks[last:] for entry in (*block, blank)][:-1]]
    longest = max(map(len, columns))
    entries = [entry for each in columns for entry in (*each, *[blank] * (longest - len(each)))]
    labels, handles = zip(*entries, strict=True)
    legend(spot, handles, labels, loc="center", fontsize=7, ncols=len(columns), handlelength=3)
    for text in spot.get_legend().get_texts():
        text.set_weight("bold" if text.get_text() in groups else "normal")
