"""The table of nearest neighbors that the neighbor estimators of a space share, and the variance of dependent points."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightning_pz.common.errors import UserError
from lightning_pz.pool.novelty import first_of_each, nearest_neighbors
from lightning_pz.probes.estimate import Points, check_points

DUPLICATE = 1e-6
"""Points that agree in every coordinate to this fraction of their root mean square spread are one point."""


@dataclass(frozen=True)
class NeighborTable:
    """Ascending distances of each point to its nearest other points, (N, k) float64 above 0, and whose they are, (N, k)."""

    distances: Float[Tensor, "points neighbors"]
    indices: Int[Tensor, "points neighbors"]

    def check(self, neighbors: int, probe: str) -> None:
        """Raise `UserError` unless the table has as many neighbors as a probe needs."""
        have = self.distances.shape[1]
        if not 1 <= neighbors <= have:
            raise UserError(
                f"{probe} expects 1 to {have} neighbors, which is what {len(self.distances)} distinct points have or the "
                f"table holds, but got {neighbors}"
            )


def distinct_points(points: Points) -> tuple[Float[Tensor, "kept features"], Int[Tensor, " kept"]]:
    """Return the points without duplicates, which have no ratio of distances, and their rows."""
    points = points.double()
    spread = (points - points.mean(0)).square().mean().sqrt()
    if not spread > 0:
        return points[:1], torch.zeros(1, dtype=torch.long)
    rows = first_of_each((points - points.mean(0)) / spread, DUPLICATE)
    return points[rows], rows


def neighbor_table(points: Points, neighbors: int) -> NeighborTable:
    """Return the k <= N - 1 exact nearest neighbors of distinct finite points, (N, D), in double precision."""
    check_points(points, 2, "a table of nearest neighbors")
    count = len(points)
    if not 1 <= neighbors < count:
        raise UserError(
            f"a table of nearest neighbors of {count} points has 1 to {count - 1} a point, but {neighbors} were asked for"
        )
    indices = torch.empty(count, neighbors, dtype=torch.long)
    distances = torch.empty(count, neighbors, dtype=torch.double)
    for rows, exact, index in nearest_neighbors(points.double(), neighbors, ordered=True):
        distances[rows], order = exact.sort(1)
        indices[rows] = index.gather(1, order)
    if bool((distances[:, 0] == 0).any()):
        raise UserError(
            "a table of nearest neighbors expects distinct points, but some are equal: drop duplicates first"
        )
    return NeighborTable(distances, indices)


def linked_variance(scores: Float[Tensor, " points"], indices: Int[Tensor, "points neighbors"]) -> float:
    """Return the variance of a sum of centered scores, (N,), that depend on shared neighbors, (N, k).

    Two points are linked when one is among the other's neighbors; `sum_i s_i^2 + 2 sum_linked s_i s_j`, never less than
    the first term, which alone gives 15 to 40 % too small a standard error for ratios of neighbor distances (measured
    on flat tori of 1 to 20 dimensions). Source, on dependency graphs: Baldi and Rinott, Annals of Probability 17 (1989)
    1646.
    """
    count = len(scores)
    own = torch.arange(count)[:, None].expand_as(indices)
    pairs = torch.unique(torch.minimum(own, indices) * count + torch.maximum(own, indices))
    shared = 2 * (scores[pairs // count] * scores[pairs % count]).sum()
    return float(scores.square().sum() + shared.clamp_min(0))
