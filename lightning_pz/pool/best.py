"""The best policies of a pool for a task, by the episodes in which they were found."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from lightning_pz.common.errors import UserError
from lightning_pz.pool.store import Pool
from lightning_pz.pool.unplayed import unplayed


def best_of_pool(pool: Pool, task: str, count: int = 1) -> Int[np.ndarray, " best"]:
    """Return the rows of the policies whose own episodes earned most by a task's rewards, the best first.

    Of equals the one that was found first comes first; all are returned if there are fewer than `count`. A pool
    whose policies have not been played, or a task that the pool has no returns of, raises `UserError`.
    """
    if "returns" not in pool.arrays:
        raise UserError(
            f"{pool.folder} {unplayed(pool.meta)}, so which is best at {task!r} is "
            "not known: fit on a grown pool (--data.recipe grown), or begin the search at draws (--start draws)"
        )
    known = pool.meta["growth"]["tasks"]
    if task not in known:
        raise UserError(
            f"{pool.folder} holds returns of {', '.join(known)}, but not of {task!r}: rank it by "
            "lightning_pz.replay.rank_pool, which replays episodes"
        )
    returns = pool.arrays["returns"][:, known.index(task)]
    return np.argsort(-np.where(np.isfinite(returns), returns, -np.inf), kind="stable")[:count]
