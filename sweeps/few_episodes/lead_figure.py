"""The map of the few-episode study: who leads each task after each count, and by how much."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Sequence

import numpy as np
from matplotlib.figure import Figure

from lightning_pz.common.plotting import BLACK, panels
from sweeps.few_episodes.few_grid import RIVALS, FewGrid
from sweeps.few_episodes.few_tables import (
    NOTHING,
    SIGNIFICANT,
    TaskAnswers,
    count_text,
    lead_text,
    leader,
    leader_name,
    names_of,
    short_contender,
    verdict_at,
)

FROM_SCRATCH = {"rival": "from scratch, tuned settings", "default": "from scratch, default settings"}
"""What each kind of rivals is, in a legend."""
_CELL = 1.25  # inches
_LETTERS = 20  # of a name, in a line of a cell


def lead_map(grid: FewGrid, found: Sequence[TaskAnswers]) -> Figure:
    """Draw who leads each task at each count, and by how much of the task's range of returns; below it what names mean."""
    verdicts = [{count: verdict_at(grid, one, count) for count in grid.at} for one in found]
    at = [count for count in grid.at if any(each[count] is not None for each in verdicts)] or grid.at
    leads, names = np.full((len(found), len(at)), np.nan), set[str]()
    figure, axes = panels(width=max(_CELL * len(at) + 2.2, 6.0), height=max(0.4 * len(found) + 1.3, 3.0))
    axis = axes[0, 0]
    for i, (one, each) in enumerate(zip(found, verdicts, strict=True)):
        every = [value for runs in one.runs.values() for row in runs for value in row.answers.values()]
        scale = max(float(np.ptp(every)), 1e-9)
        for j, count in enumerate(at):
            if (verdict := each[count]) is None:
                continue
            strongest = verdict.rivals[0]
            lead = strongest.lead if strongest.lead <= 0 else min(strongest.lead, verdict.mean - verdict.still)
            leads[i, j] = lead / scale
            names.add(leader_name(verdict))
            who = textwrap.fill(f"{leader(verdict)}{SIGNIFICANT if verdict.is_significant else ''}", _LETTERS)
            color = "white" if abs(lead) > 0.6 * scale else BLACK
            axis.text(j, i, f"{who}\n{lead_text(lead)}", ha="center", va="center", fontsize=6, color=color)
    image = axis.imshow(np.ma.masked_invalid(leads), cmap="PuOr_r", vmin=-1, vmax=1, aspect="auto")
    axis.set_xticks(range(len(at)), [count_text(count) for count in at])
    axis.set_yticks(range(len(found)), [one.label for one in found], fontsize=7)
    axis.set_xlabel(f"{grid.by} of the new task (0: before the first)")
    axis.set_title(
        f"who leads, and by how much: ours (orange) or a rival from scratch (violet)\n"
        f"{SIGNIFICANT} p <= 0.05 against each rival that ran so far, at most {len(names_of(grid, *RIVALS))}",
        fontsize=8,
    )
    bar = figure.colorbar(image, ax=axis, shrink=0.9)
    bar.set_label("lead, share of the task's range\n(lowest to highest return of any run)", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    if key := _key(grid, names):
        wide = round(13 * figure.get_figwidth())  # letters of the key's size in a line
        # A space that does not break keeps an entry together.
        lines = textwrap.fill(";  ".join(entry.replace(" ", "\N{NO-BREAK SPACE}") for entry in key), wide)
        figure.supxlabel(lines, fontsize=7.5)
    return figure


def _key(grid: FewGrid, names: Collection[str]) -> list[str]:
    """Return what the short names of leaders mean, in the order of the study."""
    entries = []
    for name, contender in grid.contenders.items():
        short = short_contender(name)
        words = [name if short != name else "", FROM_SCRATCH.get(contender.kind, "")]
        if name in names and any(words):
            entries.append(f"{short} = {', '.join(filter(None, words))}")
    return [*entries, f"{NOTHING} = a policy that does nothing"] if NOTHING in names else entries
