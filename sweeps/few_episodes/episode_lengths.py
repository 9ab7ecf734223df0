"""How long the episodes of each contender are: where one can end early, equal numbers of them are unequal numbers of steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lightning_pz.common.tables import Table
from sweeps.few_episodes.few_grid import FewGrid
from sweeps.few_episodes.few_tables import TaskAnswers, names_of

_KINDS = {"ours": "ours", "rival": "tuned rivals", "default": "rivals with defaults"}
_UNEQUAL = 1.1
"""How many times as long the longest must be as the shortest for a task to be told."""


def lengths_table(grid: FewGrid, found: Sequence[TaskAnswers]) -> Table:
    """Return environment steps an episode, the mean over all episodes of a contender's runs: lowest to highest of each kind.

    Only of tasks on which they differ.
    """
    rows = []
    for one in found:
        kinds = {kind: _lengths(one, names_of(grid, kind)) for kind in _KINDS}
        every = [length for lengths in kinds.values() for length in lengths]
        if every and max(every) > _UNEQUAL * min(every):
            rows.append([one.env, one.task, *(_range_text(lengths) for lengths in kinds.values())])
    return Table(["environment", "task", *_KINDS.values()], rows)


def _lengths(one: TaskAnswers, names: Sequence[str]) -> list[float]:
    """Return steps an episode of each contender that has played any."""
    played = {name: [row for row in one.runs.get(name, []) if row.episodes] for name in names}
    return [
        float(np.sum([row.env_steps for row in rows]) / np.sum([row.episodes for row in rows]))
        for rows in played.values()
        if rows
    ]


def _range_text(lengths: Sequence[float]) -> str:
    if not lengths:
        return "-"
    low, high = (f"{number:,.0f}" for number in (min(lengths), max(lengths)))
    return low if low == high else f"{low} to {high}"
