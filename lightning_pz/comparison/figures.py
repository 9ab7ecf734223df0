"""Learning curves, drawn so that they can be told apart in gray as well."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from lightning_pz.common.files import replacing
from lightning_pz.common.plots import BLUE, GRAY, GREEN, ORANGE, RED, plt
from lightning_pz.common.statistics import NONE, ends_are
from lightning_pz.comparison.analysis import Curve, Task, curve_of
from lightning_pz.comparison.wins import Round
from lightning_pz.search.settings import ALGORITHMS

PURPLE, SKY, OLIVE, BROWN, INK = "#AA4499", "#56B4E9", "#8A8A00", "#7A3B10", "#000000"
_STYLES: tuple[tuple[str, object], ...] = (
    (BLUE, "-"), (ORANGE, (0, (6, 1.5))), (GRAY, (0, (1, 1.2))), (GREEN, (0, (6, 1.5, 1, 1.5))),
    (RED, (0, (3, 1.2))), (PURPLE, (0, (8, 2, 1, 2, 1, 2))), (SKY, (0, (10, 3))), (INK, (0, (1, 3))),
    (BROWN, (0, (3, 1.2, 1, 1.2, 1, 1.2))), (OLIVE, "-"),
)  # fmt: skip
_MARKERS = "osD^vP*X<>"
_FORMATS = ("png", "pdf")


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure as PNG (200 dots per inch) and PDF, each whole or not at all, and close it.

    Args:
        figure: What to write.
        stem: Path without its suffix.
    """
    paths = []
    for kind in _FORMATS:
        path = stem.with_name(f"{stem.name}.{kind}")
        # Without a date, equal figures are equal files.
        metadata = {"CreationDate": None} if kind == "pdf" else None
        with replacing(path) as temporary:
            figure.savefig(temporary, format=kind, dpi=200, bbox_inches="tight", metadata=metadata)
        paths.append(path)
    plt.close(figure)
    return paths


def learning_curves(task: Task, names: Sequence[str]) -> Figure:
    """Draw return against environment steps: interquartile mean and band of each contender.

    Args:
        task: What to draw.
        names: All contenders of the report, so that each looks the same in every figure.
    """
    figure, axes = _axes()
    for cell in task.cells:
        _draw(axes, task.grid, cell.curve, names.index(cell.contender), f"{cell.contender} ({len(cell.runs)})")
    _draw_pool(axes, task)
    bottom, cut = _bottom(task)
    highs = [cell.curve.high for cell in task.cells]
    values = [cell.curve.value for cell in task.cells]
    pool = [number for number in task.pool[:3] if np.isfinite(number)] if task.pool else []
    top = float(np.nanmax(np.concatenate([*highs, *values, pool, [bottom]])))
    # Matplotlib's own margin would grow with what is cut off.
    axes.set_ylim(bottom, top + 0.05 * max(top - bottom, 1e-9))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set(xlabel="environment steps", ylabel="return", title=task.label, xlim=(0, task.grid[-1]))
    told = ends_are({cell.curve.kind for cell in task.cells})
    notes = ["algorithm (seeds)", *([f"band: {told}"] if told else [])]
    _legend(figure, axes, "; ".join([*notes, *([f"curves go on below {bottom:.3g}"] if cut else [])]))
    return figure


def overview(tasks: Sequence[Task], result: Round, names: Sequence[str]) -> Figure:
    """Draw all tasks in one: normalized return against the share of the budget, and the areas beneath.

    Left, the interquartile mean over the runs of all tasks, equally many of each; a contender is drawn as far as it was given budget on
    every task, and once each of its runs has been evaluated. Right, the area under each run's own curve.

    Args:
        tasks: All tasks.
        result: The round of the whole budget.
        names: All contenders of the report.
    """
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(7.4, 3.4), layout="constrained", gridspec_kw={"width_ratios": [1.6, 1]}
    )
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    share = np.linspace(0, 100, len(tasks[0].grid))
    kinds = []
    for index, name in enumerate(names):
        strata = [cell.scores for task in tasks for cell in task.cells if cell.contender == name]
        if len(strata) == len(tasks):
            curve = curve_of(strata)
            kinds.append(curve.kind)
            _draw(left, share, curve, index, name)
    left.set(xlabel="environment steps (% of the budget)", ylabel="normalized return", xlim=(0, 100))
    left.set_title(f"interquartile mean over {len(tasks)} task{'s' * (len(tasks) > 1)}", fontsize=9)
    low, high = left.get_ylim()
    left.set_ylim(max(low, -0.25), min(high, 1.15))
    ranked = sorted(result.standings, key=lambda standing: standing.area.value)
    for place, standing in enumerate(ranked):
        color, _ = _style(names.index(standing.contender))
        area = standing.area
        right.plot([area.low, area.high], [place, place], color=color, linewidth=2.5, solid_capstyle="butt")
        right.plot(area.value, place, marker=_marker(names.index(standing.contender)), color=color, markersize=6)
    right.set_yticks(range(len(ranked)), [standing.contender for standing in ranked])
    right.set(xlabel="area under the curve", ylim=(-0.6, max(len(ranked), 1) - 0.4))
    told = ends_are({standing.area.kind for standing in ranked})
    right.set_title("interquartile mean" + (f", line: {told}" if told else ""), fontsize=9)
    right.grid(axis="x", color="#DDDDDD", linewidth=0.6)
    told = ends_are(set(kinds))
    _legend(figure, left, f"band: {told}" if told else None)
    return figure


def _axes() -> tuple[Figure, plt.Axes]:
    figure, axes = plt.subplots(figsize=(6.2, 3.6), layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _style(index: int) -> tuple[str, object]:
    return _STYLES[index % len(_STYLES)]


def _marker(index: int) -> str:
    return _MARKERS[index % len(_MARKERS)]


def style_indices(names: Sequence[str]) -> list[str]:
    """Return the contenders in the order of their styles: known algorithms keep theirs, whatever else is there."""
    return [*ALGORITHMS, *(name for name in names if name not in ALGORITHMS)]


def _draw(axes: plt.Axes, x: np.ndarray, curve: Curve, index: int, label: str) -> None:
    color, line = _style(index)
    # A marker now and then, not all at the same place: in gray print neighbors differ by more than their dashes.
    every = (0.04 + 0.013 * (index % 10), 0.17)
    axes.step(
        x, curve.value, where="post", color=color, linestyle=line, linewidth=1.5, label=label,
        marker=_marker(index), markevery=every, markersize=4, zorder=3,
    )  # fmt: skip
    axes.fill_between(x, curve.low, curve.high, step="post", color=color, alpha=0.15, linewidth=0)


def _draw_pool(axes: plt.Axes, task: Task) -> None:
    if task.pool is None:
        return
    told = ends_are({task.pool.kind})
    axes.axhline(
        task.pool.value, color=INK, linewidth=1, label="best in the pool" + (f" ({told})" if told else ""), zorder=2
    )
    if task.pool.kind == NONE:
        return
    axes.axhspan(task.pool.low, task.pool.high, facecolor="none", edgecolor=GRAY, alpha=0.3, hatch="///", linewidth=0)


def _bottom(task: Task) -> tuple[float, bool]:
    """Return where the return axis begins, and whether curves go on below.

    The first policies of an algorithm can be so bad that nothing else could be seen. Nine tenths of every
    contender's curve stay in sight.
    """
    # Without a band, the curve itself.
    lows = [np.where(np.isnan(cell.curve.low), cell.curve.value, cell.curve.low) for cell in task.cells]
    lows = [low[~np.isnan(low)] for low in lows]
    ends = [task.best, *([number for number in task.pool[:3] if np.isfinite(number)] if task.pool else [])]
    lowest = min(float(values.min()) for values in [*lows, np.array(ends)] if len(values))
    usual = min(float(np.quantile(values, 0.1)) for values in [*lows, np.array(ends)] if len(values))
    span = max(task.best - usual, 1e-9)
    if lowest < usual - span:
        return usual - 0.25 * span, True
    return lowest - 0.04 * max(task.best - lowest, 1e-9), False


def _legend(figure: Figure, axes: plt.Axes, title: str | None) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(
            handles, labels, loc="outside lower center", ncols=min(4, len(handles)), frameon=False, fontsize=8,
            title=title, title_fontsize=8, handlelength=4,
        )  # fmt: skip
