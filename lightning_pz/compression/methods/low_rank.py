"""Truncated singular value decomposition of a layer, and three rules for its rank.

References:
    Best approximation of a given rank: Eckart and Young, Psychometrika 1936; on policies: arXiv 2403.06313.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_pz.common.errors import UserError
from lightning_pz.compression.methods.quantize import fake_levels
from lightning_pz.compression.modules import from_plan, to_plan
from lightning_pz.policy.network_plan import NetworkPlan, Tensors


class Factors(nn.Module):
    """A parametrization that replaces a weight by `left @ right`, two trained factors of a small rank."""

    def __init__(
        self, weight: Float[Tensor, "out ..."], rank: int, bits: int = 8, *, per_channel: bool = False
    ) -> None:
        super().__init__()
        self.left, self.right = map(nn.Parameter, truncate(weight.detach().flatten(1), rank))
        self.shape, self.rounds, self.bits = weight.shape, False, bits
        # As files keep the weights of convolutions, which both factors of one become.
        self.per_channel = per_channel or weight.ndim > 2

    def values(self) -> tuple[Float[Tensor, "out rank"], Float[Tensor, "rank in"]]:
        """Return the factors, rounded to levels if `rounds` is set."""
        if not self.rounds:
            return self.left, self.right
        left, right = (
            fake_levels(factor, self.bits, per_channel=self.per_channel) for factor in (self.left, self.right)
        )
        return left, right

    def forward(self, weight: Float[Tensor, "out ..."]) -> Float[Tensor, "out ..."]:
        left, right = self.values()
        return (left @ right).view(self.shape)


def truncate(matrix: Float[Tensor, "out in"], rank: int) -> tuple[Float[Tensor, "out rank"], Float[Tensor, "rank in"]]:
    """Return factors of the nearest matrix of a rank, each with the root of the singular values; or `UserError`."""
    most, (rows, columns) = min(matrix.shape), matrix.shape
    if not 1 <= rank <= most:
        raise UserError(
            f"--low_rank.rank expects 1 to {most} for a layer of {rows} x {columns} weights, but got {rank}"
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
    """Return the smallest rank whose error, which is taken to fall with it, is within a bound; `largest` if none is."""
    # Bisection: ranks whose error is within the bound count as 1, after all those that count as 0.
    return bisect_left(range(1, largest), 1, key=lambda rank: int(error(rank) <= bound)) + 1


def split_low_rank(network: nn.Sequential, factors: Mapping[str, tuple[Tensor, Tensor]]) -> nn.Sequential:
    """Return a network whose named layers are two layers each, their factors (out, rank) and (rank, in).

    Layers have the names of `lightning_pz.compression.methods.stack.layers_of`; their weights are the products.
    """
    plan, tensors = to_plan(network)
    return from_plan(_split(plan, tensors, {f"{name}.weight": pair for name, pair in factors.items()}), tensors)


def _split(plan: NetworkPlan, tensors: Tensors, factors: Mapping[str, tuple[Tensor, Tensor]]) -> NetworkPlan:
    result: NetworkPlan = []
    for step in plan:
        name = step.get("weight", "")
        if name not in factors:
            result.append(step | {"body": _split(step["body"], tensors, factors)} if "body" in step else step)
            continue
        left, right = (factor.detach().cpu() for factor in factors[name])
        first, second = step | {"weight": f"{name}.right", "bias": None}, step | {"weight": f"{name}.left"}
        if step["kind"] == "conv":
            left, right = left[:, :, None, None], right.view(-1, *tensors[name].shape[1:])
            second |= {"stride": [1, 1], "padding": [0, 0]}
        tensors |= {first["weight"]: right, second["weight"]: left}
        result += [first, second]
    return result
