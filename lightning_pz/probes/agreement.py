"""Agreement of neighborhoods in two spaces: trustworthiness and continuity."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from lightning_pz.common.errors import UserError
from lightning_pz.probes.estimate import Points, ProbeEstimate, check_points, mean_estimate

Ranks = Int[Tensor, "points others"]


def neighbor_ranks(points: Points) -> Ranks:
    """Return for each of 4 or more points the rank of every other, 1 the nearest, 0 itself; (N, N) int32."""
    check_points(points, 4, "a ranking of neighbors")
    centered = points.double() - points.double().mean(0)
    squares = centered.square().sum(1)
    distances = torch.addmm(squares, centered, centered.T, alpha=-2)
    distances.fill_diagonal_(-torch.inf)
    order = distances.argsort(1)
    ranks = torch.empty(order.shape, dtype=torch.int32)
    return ranks.scatter_(1, order, torch.arange(len(points), dtype=torch.int32).expand_as(order).contiguous())


def trustworthiness(original: Ranks, embedded: Ranks, neighbors: int = 10) -> ProbeEstimate:
    """Return how far neighbors in an embedding are neighbors in the original: 1 all, 0.5 as by chance, 0 worst.

    `1 - 2 / (N k (2 N - 3 k - 1)) sum_i sum_j (r(i, j) - k)` over the k nearest j of i in the embedding whose rank r in
    the original is above k. Exchange the ranks, (N, N), for continuity. The standard error is over points, as if
    independent. Raises `UserError`: neighbors k outside 1 to N / 2. Source: Venna and Kaski, "Neighborhood preservation
    in nonlinear projection methods", ICANN 2001.
    """
    count = len(original)
    if not 1 <= neighbors < count / 2:
        raise UserError(
            f"trustworthiness of {count} points expects 1 to {(count - 1) // 2} neighbors, but got {neighbors}"
        )
    near = (embedded > 0) & (embedded <= neighbors)
    excess = ((original - neighbors).clamp_min(0) * near).sum(1).double()
    return mean_estimate(1 - 2 * excess / (neighbors * (2 * count - 3 * neighbors - 1)))


def rank_agreement(original: Ranks, embedded: Ranks, neighbors: int = 10) -> dict[str, ProbeEstimate]:
    """Return `trustworthiness` and `continuity` of an embedding."""
    return {
        "trustworthiness": trustworthiness(original, embedded, neighbors),
        "continuity": trustworthiness(embedded, original, neighbors),
    }
