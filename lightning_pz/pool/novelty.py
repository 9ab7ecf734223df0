"""Novelty: the distance of a fingerprint to its nearest neighbors among the candidates."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightning_pz.common.errors import UserError
from lightning_pz.common.progress import ProgressBar

_BLOCK, _REFINED = 1024, 64
_ROUNDING = 1e-4
"""Fingerprints that agree in every action to this fraction of half the action box are one behavior."""


def first_of_each(points: Float[Tensor, "points features"], rounding: float = _ROUNDING) -> Int[Tensor, " kept"]:
    """Return, in ascending order, the first index of each row that is distinct after rounding to a grid of that width."""
    grid = np.round(points.numpy() / rounding).astype(np.int32)
    # One opaque value per row, so that equality is that of whole rows.
    rows = np.ascontiguousarray(grid).view(np.dtype((np.void, grid.shape[1] * grid.itemsize))).ravel()
    _, first = np.unique(rows, return_index=True)
    return torch.from_numpy(np.sort(first))


def nearest_neighbors(
    points: Float[Tensor, "points features"], neighbors: int, *, ordered: bool = False, progress: bool | None = False
) -> Iterator[tuple[slice, Float[Tensor, "part neighbors"], Int[Tensor, "part neighbors"]]]:
    """Yield rows, the distances to their nearest other points, and the indices of these, part by part.

    Squared distances come from one matrix product a block, |a|^2 + |b|^2 - 2 a.b, which finds the neighbors, in order or
    not; their Euclidean distances are then computed anew from differences, so that close points keep their digits.
    Working memory is a block of 1,024 x N numbers.
    """
    centered = points - points.mean(0)  # small norms lose fewer digits in the product
    squares = centered.square().sum(1)
    for start in ProgressBar(range(0, len(points), _BLOCK), desc="novelty", unit="block", progress=progress):
        block = centered[start : start + _BLOCK]
        # |a|^2 is the same along a row and does not change which neighbors are nearest.
        rough = torch.addmm(squares, block, centered.T, alpha=-2)
        rough[torch.arange(len(block)), start + torch.arange(len(block))] = torch.inf
        nearest = rough.topk(neighbors, largest=False, sorted=ordered).indices
        for first in range(0, len(block), _REFINED):
            part, index = block[first : first + _REFINED], nearest[first : first + _REFINED]
            exact = (centered[index] - part[:, None, :]).square().sum(-1).sqrt()
            yield slice(start + first, start + first + len(part)), exact, index


def novelty(
    points: Float[Tensor, "points features"], neighbors: int, *, progress: bool | None = None
) -> Float[Tensor, " points"]:
    """Return the mean Euclidean distance of each point, (N, D), to its nearest neighbors, exact, (N,).

    Time is that of all distances, N^2 D operations; memory a block of 1,024 x N numbers.

    Raises:
        UserError: Fewer than 1 neighbor, or as many as there are points or more.

    References:
        Lehman and Stanley, "Abandoning objectives: evolution through the search for novelty alone" (2011);
        the distance is that of Tenedini et al., arXiv 2509.22566.
    """
    if not 1 <= neighbors < len(points):
        raise UserError(
            f"--neighbors expects 1 to {len(points) - 1}, one less than the distinct candidates, "
            f"but got {neighbors}: draw more candidates or ask for fewer neighbors"
        )
    return torch.cat([exact.mean(1) for _, exact, _ in nearest_neighbors(points, neighbors, progress=progress)])


def novelty_contrast(kept: Float[Tensor, " kept"], drawn: Float[Tensor, " drawn"]) -> float | None:
    """Return the median novelty of kept policies over that of drawn ones; None where most of the drawn ones act alike."""
    middle = float(drawn.median())
    return float(kept.median()) / middle if middle > 0 else None


def most_novel(scores: Float[Tensor, " points"], share: float) -> Int[Tensor, " kept"]:
    """Return the indices of the most novel share of the points, at least one, in ascending order.

    Ties are broken by index, so that the choice is the same everywhere.
    """
    count = max(1, round(share * len(scores)))
    return torch.sort(scores, descending=True, stable=True).indices[:count].sort().values
