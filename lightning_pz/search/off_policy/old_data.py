"""What an off-policy search learns from before its first step: episodes of the pool's own policies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Int

from lightning_pz.common.errors import UserError
from lightning_pz.envs.episode_seeds import seed_of
from lightning_pz.envs.own_tasks import TaskFunction
from lightning_pz.pool.store import Pool
from lightning_pz.pool.unplayed import unplayed
from lightning_pz.replay.ranking import find_ranking
from lightning_pz.replay.transitions import Transitions, relabeled_transitions
from lightning_pz.search.settings import SearchSettings


def old_data(
    pool: Pool, settings: SearchSettings, task: TaskFunction, rankings: Path, threads: int
) -> Callable[[], Transitions]:
    """Return what plays the chosen policies' own episodes again, relabeled with the task.

    The folder `rankings` keeps the ranking of the pool on a task that it does not know; see `find_ranking`. Raises `UserError` for a random pool, which has no episodes.
    """
    if "returns" not in pool.arrays:
        raise UserError(
            f"--replay {settings.replay:g} learns from the episodes of a grown pool, but {pool.folder} "
            f"{unplayed(pool.meta)}: give --replay 0, or fit on a grown pool (--data.recipe grown)"
        )
    best = find_ranking(pool, settings.task, rankings, threads=threads).rows[: settings.off_policy.best]
    rows = old_rows(pool, settings, best)
    return lambda: relabeled_transitions(pool, rows, task, threads=threads, progress=False)


def old_rows(pool: Pool, settings: SearchSettings, best: Int[np.ndarray, " best"]) -> Int[np.ndarray, " rows"]:
    """Return the rows of the best policies at the task, and after them of others drawn at random."""
    others = np.setdiff1d(np.arange(len(pool.arrays["returns"])), best)
    generator = np.random.default_rng(seed_of(settings.seed, 5))
    return np.concatenate([best, generator.permutation(others)[: settings.off_policy.random]])
