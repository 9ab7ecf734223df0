"""The policies of a pool that earn much together with their neighbors: a record of one episode is often luck.

The best of twenty thousand single episodes is the luckiest of the good ones. Policies that act alike earn alike, so that a
policy's own episode and those of the few that act most like it tell more of it than one episode does, though less than as many
of its own would: neighbors often come from one climb, and those of one generation began in the same state. The mean over them
is a nearest-neighbor regression of the return on behavior; it takes no environment step.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int

from lightning_pz.replay.ranking import Ranking

CANDIDATES, NEIGHBORS = 300, 3
"""Of the policies, those that earned most; and how many that act like one of them count beside it."""


def steady_settings() -> dict[str, int]:
    """Return how steady policies are chosen, as plain data."""
    return {"candidates": CANDIDATES, "neighbors": NEIGHBORS}


def steady_rows(
    fingerprints: Float[np.ndarray, "policies states features"], ranking: Ranking, count: int
) -> Int[np.ndarray, " best"]:
    """Return the rows of the candidates with the highest mean return of their own episode and their neighbors', best first.

    Neighbors are the nearest in behavior, by the root mean square difference of a pool's fingerprints, of all policies whose returns
    the ranking has exactly. Of equals the one that earned more comes first; fewer than `count` if there are fewer candidates.
    """
    rows = ranking.rows[np.isfinite(ranking.returns)]
    returns = ranking.returns[np.isfinite(ranking.returns)]
    points = torch.from_numpy(np.array(fingerprints[rows], dtype=np.float32)).flatten(1)
    candidates = min(CANDIDATES, len(rows))
    # Without a matrix product, whose rounding would depend on the number of threads.
    distances = torch.cdist(points[:candidates], points, compute_mode="donot_use_mm_for_euclid_dist")
    distances[range(candidates), range(candidates)] = np.inf
    near = distances.argsort(dim=1, stable=True)[:, : min(NEIGHBORS, len(rows) - 1)].numpy()
    means = np.concatenate([returns[:candidates, None], returns[near]], axis=1).mean(1)
    return rows[np.argsort(-means, kind="stable")[:count]]
