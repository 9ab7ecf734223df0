"""Schedules of pruning: the sparsity at each step, and how the layers share the weights kept. Imports no torch.

References:
    Cubic ramp: Zhu and Gupta, To prune, or not to prune, 2017 (arXiv 1710.01878). Erdos-Renyi kernel rule: Mocanu et
    al., 2018, and Evci et al., Rigging the Lottery, 2020 (arXiv 1911.11134). Both as in arXiv 2405.07748.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from lightning_pz.common.checks import at_least, one_of, shares
from lightning_pz.common.errors import UserError

Distribution = Literal["erk", "uniform"]
DISTRIBUTIONS: tuple[str, ...] = get_args(Distribution)


def cubic_ramp(progress: float) -> float:
    """Return the share of the final sparsity that is reached: `1 - (1 - k/N)^3`, progress k/N cut to 0..1."""
    return 1 - (1 - min(max(progress, 0.0), 1.0)) ** 3


@dataclass(frozen=True)
class Ramp:
    """When weights are cut: `events` times between two shares of the training.

    Args:
        begin: Share of the steps after which the first weights go.
        end: Share of the steps at which the last ones go.
        events: How often, evenly spread.
    """

    begin: float = 0.2
    end: float = 0.8
    events: int = 600

    def __post_init__(self) -> None:
        if not 0 <= self.begin < self.end <= 1:
            given = f"{self.begin} and {self.end}"
            raise UserError(f"--ramp expects 0 <= begin < end <= 1, shares of the steps, but got {given}")
        at_least(1, {"ramp.events": self.events})

    def event(self, step: int, steps: int) -> int:
        """Return how many events, 0 to `events`, have happened after a step of so many in all."""
        # The rounding is for shares such as 0.8 * 1000, which must not fall short of their own step.
        through = (step / steps - self.begin) / (self.end - self.begin)
        return math.floor(round(self.events * min(max(through, 0.0), 1.0), 9))

    def share(self, step: int, steps: int) -> float:
        """Return the share of the final sparsity at a step, 0 to 1."""
        return cubic_ramp(self.event(step, steps) / self.events)


def layer_densities(shapes: Sequence[tuple[int, ...]], sparsity: float, distribution: str = "erk") -> list[float]:
    """Return the share of weights that each layer keeps, so that all together keep `1 - sparsity`.

    `uniform` gives every layer the same density; `erk` one proportional to `(n_in + n_out) / (n_in n_out)`, for a
    convolution `(n_in + n_out + h + w) / (n_in n_out h w)`. A layer that would keep more than all keeps all, and the
    others make up for it.
    """
    shares({"sparsity": sparsity})
    one_of("distribution", distribution, DISTRIBUTIONS)
    if distribution == "uniform":
        return [1 - sparsity] * len(shapes)
    sizes = np.array([math.prod(shape) for shape in shapes], dtype=float)
    raw = np.array([sum(shape) for shape in shapes]) / sizes
    full = np.zeros(len(shapes), dtype=bool)
    while True:
        left = (1 - sparsity) * sizes.sum() - sizes[full].sum()
        scale = left / (raw * sizes)[~full].sum() if (~full).any() else 0.0
        over = ~full & (scale * raw > 1)
        if not over.any():
            return np.where(full, 1.0, scale * raw).tolist()
        full |= over


def kept_counts(shapes: Sequence[tuple[int, ...]], sparsity: float, distribution: str = "erk") -> list[int]:
    """Return how many weights each layer keeps, at least one; they add up to `round((1 - sparsity) N)` of N.

    Whole numbers come from `layer_densities` by the largest remainder. Too few weights for that are a `UserError`.
    """
    sizes = np.array([math.prod(shape) for shape in shapes])
    wanted = np.array(layer_densities(shapes, sparsity, distribution)) * sizes
    total = round((1 - sparsity) * int(sizes.sum()))
    if total < len(shapes):
        raise UserError(
            f"--sparsity {sparsity} leaves {total} of {sizes.sum()} weights, fewer than the {len(shapes)} layers: choose a "
            "lower one"
        )
    counts = np.maximum(np.floor(wanted + 1e-9).astype(int), 1)
    order = itertools.cycle(np.argsort(-(wanted - counts), kind="stable"))
    while step := int(np.sign(total - counts.sum())):
        if 1 <= counts[layer := next(order)] + step <= sizes[layer]:
            counts[layer] += step
    return counts.tolist()
