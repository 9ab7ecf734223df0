"""Local PCA: how many directions the neighborhood of a point fills."""

from __future__ import annotations

import math

import torch

from lightning_pz.common.errors import UserError
from lightning_pz.probes.estimate import Points, ProbeEstimate
from lightning_pz.probes.neighbors import NeighborTable, linked_variance


def local_pca(
    points: Points,
    table: NeighborTable,
    neighbors: int = 100,
    threshold: float = 0.05,
    centers: int = 256,
    seed: int = 0,
) -> ProbeEstimate:
    """Return the mean number of local principal variances above a share of the largest one.

    Never more than neighbors - 1 nor than features. With k neighbors, d directions of equal variance are all counted while
    `(1 - sqrt(d / k))^2 > threshold (1 + sqrt(d / k))^2`, which is d < 0.4 k at 5 %.

    Args:
        points: (N, D), those of the table.
        table: At least `neighbors` neighbors a point.
        neighbors: k, points of a neighborhood; the center is not among them.
        threshold: Share of the largest local variance above which a direction counts.
        centers: Points whose neighborhoods are looked at; all if there are fewer.
        seed: Of the choice of the centers.

    Raises:
        UserError: Fewer neighbors in the table, or a threshold outside 0 and 1.

    References:
        Fukunaga and Olsen, IEEE Transactions on Computers C-20 (1971) 176.
    """
    if not 0 < threshold < 1 or neighbors < 2:
        raise UserError(
            f"local PCA expects a threshold between 0 and 1 and at least 2 neighbors, but got {threshold}, {neighbors}"
        )
    table.check(neighbors, "local PCA")
    count = len(points)
    chosen = torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:centers]
    values = torch.zeros(count, dtype=torch.double)
    for rows in chosen.split(32):
        near = points.double()[table.indices[rows, :neighbors]]
        near = near - near.mean(1, keepdim=True)
        gram = near @ near.mT if neighbors < points.shape[1] else near.mT @ near
        variances = torch.linalg.eigvalsh(gram)
        values[rows] = (variances > threshold * variances[:, -1:]).double().sum(1)
    mean = float(values[chosen].mean())
    scores = torch.zeros(count, dtype=torch.double)
    scores[chosen] = values[chosen] - mean
    error = math.sqrt(linked_variance(scores, table.indices[:, :neighbors])) / len(chosen)
    return ProbeEstimate(mean, error)
