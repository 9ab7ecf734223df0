"""Truncated singular value decomposition of a layer, and three ways to choose its rank.

References:
    Best approximation of a given rank: Eckart and Young, Psychometrika 1936; on policies: arXiv 2403.06313.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_pz.common.errors import UserError
from lightning_pz.compression.methods.quantize import fake_int8


class Factors(nn.Module):
    """A parametrization that replaces a weight by `left @ right`, two factors of a small rank.

    What it is given plays no part; gradients reach the factors.

    Args:
        weight: (out, in), or (out, in, height, width), which counts as (out, in * height * width).
        rank: At least 1, at most the smaller side.

    Raises:
        UserError: A rank that the layer does not have.
    """

    def __init__(self, weight: Float[Tensor, "out ..."], rank: int) -> None:
        super().__init__()
        left, right = truncate(weight.detach().flatten(1), rank)
        self.left, self.right = nn.Parameter(left), nn.Parameter(right)
        self.shape, self.int8 = weight.shape, False

    def values(self) -> tuple[Float[Tensor, "out rank"], Float[Tensor, "rank in"]]:
        """Return the factors as they count, rounded to int8 if `int8` is set."""
        return (fake_int8(self.left), fake_int8(self.right)) if self.int8 else (self.left, self.right)

    def forward(self, weight: Float[Tensor, "out ..."]) -> Float[Tensor, "out ..."]:
        """Return the product, in the weight's shape."""
        left, right = self.values()
        return (left @ right).view(self.shape)


def truncate(matrix: Float[Tensor, "out in"], rank: int) -> tuple[Float[Tensor, "out rank"], Float[Tensor, "rank in"]]:
    """Return the factors of the nearest matrix of a rank, each with the root of the singular values.

    Raises:
        UserError: A rank below 1 or above the smaller side.
    """
    if not 1 <= rank <= min(matrix.shape):
        raise UserError(
            f"--low_rank.rank expects 1 to {min(matrix.shape)} for a layer of {matrix.shape[0]} x {matrix.shape[1]} "
            f"weights, but got {rank}"
        )
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    root = s[:rank].sqrt()
    return u[:, :rank] * root, root[:, None] * vh[:rank]


def rank_by_energy(matrix: Float[Tensor, "out in"], share: float) -> int:
    """Return the smallest rank that keeps this share of the sum of squared singular values."""
    energy = torch.linalg.svdvals(matrix).double().square().cumsum(0)
    return int((energy < share * energy[-1] * (1 - 1e-12)).sum()) + 1 if energy[-1] > 0 else 1


def rank_by_count(shape: tuple[int, ...], share: float) -> int:
    """Return the largest rank whose factors hold at most this share of the layer's weights; at least 1."""
    out, size = shape[0], math.prod(shape[1:])
    return max(1, min(out, size, int(share * out * size / (out + size))))


def rank_by_error(largest: int, error: Callable[[int], float], bound: float) -> int:
    """Return the smallest rank whose error is within a bound, by bisection; `largest` if none is.

    Args:
        largest: The layer's full rank.
        error: From a rank to its behavior error, FVU; taken to fall with the rank.
        bound: Largest error allowed.
    """
    low, high = 1, largest
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if error(middle) <= bound else (middle + 1, high)
    return low
