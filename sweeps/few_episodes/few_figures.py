"""Figures of the few-episode study: return against episodes, and a map of who leads."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from lightning_pz.common.plotting import BLACK, GRAY, legend, look, panels
from lightning_pz.common.statistics import ends_are, mean_interval
from sweeps.few_episodes.few_grid import RIVALS, FewGrid
from sweeps.few_episodes.few_tables import SIGNIFICANT, TaskAnswers, count_text, lead_text, leader, names_of, verdict_at

_COLUMNS = (4, 5)


def return_curves(grid: FewGrid, found: Sequence[TaskAnswers]) -> Figure:
    """Draw mean return against episodes or steps, a panel per task; counts are about evenly apart on a log axis, 0 stands alone."""
    shown = names_of(grid, "ours", *RIVALS)
    names = [name for name in shown if any(name in one.runs for one in found)]
    figure, axes = _task_panels(len(found), height=2.3)
    place = {count: number if count else -0.4 for number, count in enumerate(grid.at)}
    kinds: set[str] = set()
    for axis, one in zip(axes.flat, found, strict=False):
        top = -math.inf
        for number, name in enumerate(names):
            counts = [count for count in grid.at if any(count in row.answers for row in one.runs.get(name, []))]
            if not counts:
                continue
            values = [np.array([row.answers[c] for row in one.runs[name] if c in row.answers]) for c in counts]
            ends = [mean_interval(each) for each in values]
            own, x = look(number), [place[count] for count in counts]
            kinds |= {end.kind for end in ends}
            top = max([top, *(end.high for end in ends if math.isfinite(end.high))])
            solid = grid.contenders[name].kind == "ours"
            axis.plot(
                x, [end.value for end in ends], color=own.color, linestyle="-" if solid else (0, (3, 1.2)), marker=own.marker,
                markersize=3, linewidth=1.4 if solid else 1.0, label=name,
            )  # fmt: skip
            axis.fill_between(
                x, [end.low for end in ends], [end.high for end in ends], color=own.color, alpha=0.12, linewidth=0
            )
        axis.axhline(one.still, color=GRAY, linewidth=0.8, linestyle=":", label="doing nothing")
        axis.set_title(one.label, fontsize=8)
        axis.set_xticks(list(place.values()), [count_text(count) for count in grid.at])
        axis.axvline(0.3, color=GRAY, linewidth=0.5, alpha=0.5)
        axis.tick_params(labelsize=7)
        _bound(axis, one, top)
    _legend_beside(axes, len(found))
    episodes = grid.finetune.get("answer_episodes", 50)
    band = ends_are(kinds, "; band: {} over runs")
    figure.supxlabel(f"{grid.by} of the new task (0: before the first){band}", fontsize=9)
    figure.supylabel(f"return of the answer, {episodes} fresh episodes", fontsize=9)
    return figure


def pretraining_curves(grid: FewGrid, found: Sequence[TaskAnswers]) -> Figure:
    """Draw mean return after some episodes against the steps of the growth, a panel per task, beside rivals at their ends."""
    figure, axes = _task_panels(len(found), height=2.5)
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
            x, own = sorted(ends), look(number)
            kinds |= {end.kind for end in ends.values()}
            label = "before the first episode" if count == 0 else f"after {count} episodes"
            axis.plot(
                x, [ends[at].value for at in x], color=own.color, linestyle=own.line, marker=own.marker, label=label
            )
            axis.fill_between(
                x, [ends[at].low for at in x], [ends[at].high for at in x], color=own.color, alpha=0.12, linewidth=0
            )
        for number, name in enumerate(names_of(grid, *RIVALS), len(grid.decisive)):
            for row in one.runs.get(name, []):
                axis.axhline(row.end, color=look(number).color, linewidth=0.9, linestyle=":", label=f"{name}: each run")
        axis.set_xscale("log")
        axis.set_title(one.label, fontsize=8)
        axis.tick_params(labelsize=7)
    _legend_beside(axes, len(found))
    figure.supxlabel(
        f"environment steps of the growth, without reward{ends_are(kinds, '; band: {} over runs')}", fontsize=9
    )
    figure.supylabel("return of the answer, fresh episodes", fontsize=9)
    return figure


def lead_map(grid: FewGrid, found: Sequence[TaskAnswers]) -> Figure:
    """Draw who leads each task at each count, and by how much of the task's range of returns."""
    leads = np.full((len(found), len(grid.at)), np.nan)
    figure, axes = panels(width=1.25 * len(grid.at) + 2.2, height=max(0.4 * len(found) + 1.3, 3.0))
    axis = axes[0, 0]
    rivals = names_of(grid, *RIVALS)
    for i, one in enumerate(found):
        every = [value for runs in one.runs.values() for row in runs for value in row.answers.values()]
        scale = max(float(np.ptp(every)), 1e-9)
        for j, count in enumerate(grid.at):
            if (verdict := verdict_at(grid, one, count)) is None:
                continue
            strongest = verdict.rivals[0]
            lead = strongest.lead if strongest.lead <= 0 else min(strongest.lead, verdict.mean - verdict.still)
            leads[i, j] = lead / scale
            text = f"{leader(verdict)}{SIGNIFICANT if verdict.is_significant else ''}\n{lead_text(lead)}"
            color = "white" if abs(lead) > 0.6 * scale else BLACK
            axis.text(j, i, text, ha="center", va="center", fontsize=6, color=color)
    image = axis.imshow(np.ma.masked_invalid(leads), cmap="PuOr_r", vmin=-1, vmax=1, aspect="auto")
    axis.set_xticks(range(len(grid.at)), [count_text(count) for count in grid.at])
    axis.set_yticks(range(len(found)), [one.label for one in found], fontsize=7)
    axis.set_xlabel(f"{grid.by} of the new task")
    axis.set_title(
        f"who leads, and by how much: ours (orange) or a rival from scratch (violet)\n"
        f"{SIGNIFICANT} p <= 0.05 against each rival that ran so far, at most {len(rivals)}",
        fontsize=8,
    )
    figure.colorbar(image, ax=axis, label="lead, as a share of the task's range", shrink=0.8)
    return figure


def _task_panels(tasks: int, height: float) -> tuple[Figure, np.ndarray]:
    """Make a panel of some height, in inches, for each task, and one for the legend."""
    # So many columns that the legend does not have a row of its own.
    columns = min(next(count for count in _COLUMNS if tasks % count), tasks + 1)
    rows = math.ceil((tasks + 1) / columns)
    return panels(rows, columns, width=3.0 * columns, height=height * rows)


def _legend_beside(axes: np.ndarray, panels_drawn: int) -> None:
    """Draw one legend for all panels in the first empty one."""
    for axis in axes.flat[panels_drawn:]:
        axis.axis("off")
    handles: dict[str, object] = {}
    for axis in axes.flat[:panels_drawn]:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    legend(axes.flat[panels_drawn], list(handles.values()), list(handles), loc="center", fontsize=7)


def _bound(axis: object, one: TaskAnswers, top: float) -> None:
    """Leave far lower curves out of sight, so that those at the top, with their bands up to `top`, can be told apart."""
    values = [value for runs in one.runs.values() for row in runs for value in row.answers.values()]
    low, high = float(np.percentile(values, 10)), max(top, float(np.max(values)))
    pad = 0.08 * max(high - low, 1e-9)
    axis.set_ylim(min(low, one.still) - pad, high + pad)  # type: ignore[attr-defined]
