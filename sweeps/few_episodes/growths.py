"""Runs of ours as a sample of growths: searches from one growth share its pool and decoder, and are no second sample.

A permutation test and an interval over runs hold for runs that are independent. Two searches from one growth are not: before
the first episode they hold the very same policy. So their mean counts as one run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from sweeps.few_episodes.few_grid import FewGrid
from sweeps.few_episodes.ledger import RunRow


def runs_of_growths(grid: FewGrid, name: str, env: str, rows: Sequence[RunRow]) -> list[RunRow]:
    """Return one row per growth, the mean over its searches, whose seed is the growth's; a rival's runs are as they were.

    Of a count that not all searches of a growth have reached, the others tell. `rows` are those of one contender and task.
    """
    contender = grid.contenders[name]
    if contender.kind not in ("ours", "part"):
        return list(rows)
    growths: dict[int, list[RunRow]] = {}
    for row in sorted(rows, key=lambda row: row.seed):
        growths.setdefault(row.seed % grid.environments[env].pools[contender.pool].seeds, []).append(row)
    return [_mean_run(growths[seed], seed) for seed in sorted(growths)]


def _mean_run(rows: Sequence[RunRow], seed: int) -> RunRow:
    if len(rows) == 1:
        return dataclasses.replace(rows[0], seed=seed)
    counts = sorted({count for row in rows for count in row.answers})
    seconds = [row.cpu_seconds for row in rows if row.cpu_seconds is not None]
    return dataclasses.replace(
        rows[0],
        seed=seed,
        episodes=round(float(np.mean([row.episodes for row in rows]))),
        env_steps=round(float(np.mean([row.env_steps for row in rows]))),
        end=float(np.mean([row.end for row in rows])),
        answers={c: float(np.mean([row.answers[c] for row in rows if c in row.answers])) for c in counts},
        cpu_seconds=float(np.mean(seconds)) if seconds else None,
    )
