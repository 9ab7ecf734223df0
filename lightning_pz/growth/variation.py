"""Variation of MAP-Elites instead of climbing: new policies from pairs of kept ones.

References:
    Vassiliades and Mouret 2018, Discovering the Elite Hypervolume by Leveraging Interspecies Correlation: Iso+LineDD,
    here as the package `ribs` has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

_LINE = 0.2
"""Spread along the line through both parents, as a share of their distance; the paper's."""


@dataclass(frozen=True)
class Parents:
    """Those of `count` points that some climbs draw as parents."""

    count: int
    rows: Int[np.ndarray, " points"]  # their numbers among all, ascending
    points: Float[Tensor, "points size"]

    @classmethod
    def of_climbs(
        cls, points: Float[Tensor, "policies size"], population: int, seeds: Sequence[int], generations: int
    ) -> Parents:
        """Keep of all points those that variations begun with these seeds draw in so many generations."""
        times = [(seed, generation) for seed in seeds for generation in range(generations)]
        drawn = [draw_pairs(len(points), population, *time)[0] for time in times]
        rows = np.unique(np.array(drawn, dtype=np.int64))
        return cls(len(points), rows, points[rows])

    def pairs(self, numbers: Int[np.ndarray, "two pairs"]) -> Float[np.ndarray, "two pairs size"]:
        """Return pairs of points by their numbers among all."""
        return self.points.double().numpy()[np.searchsorted(self.rows, numbers)]


def draw_pairs(count: int, population: int, seed: int, generation: int) -> tuple[Int[np.ndarray, "two pairs"], int]:
    """Return the numbers of the parents of a generation's children, of so many policies, and the seed of their noise."""
    pairs, noise = np.random.SeedSequence([seed, generation]).generate_state(2)
    return np.random.default_rng(pairs).integers(count, size=(2, population)), int(noise)


class VariationState(NamedTuple):
    """Where a variation stands: it learns nothing."""

    start: Tensor  # what it was begun at, (d,) float64
    seed: int  # of all generations
    generation: int  # generations so far


class IsoLineVariation:
    """Iso+LineDD behind `lightning_pz.search.optimizers.protocol.Optimizer`.

    Args:
        parents: Points of the policies that are kept; pairs are drawn from them.
        population: Points per generation.
        sigma: Standard deviation of the isotropic part, in units of the points.
    """

    def __init__(self, parents: Parents, population: int, sigma: float) -> None:
        self.parents, self.population, self._sigma = parents, population, sigma

    def begin(self, start: Float[Tensor, " size"], seed: int) -> VariationState:
        """Return the first state; see `Optimizer.begin`."""
        return VariationState(start.double(), seed, 0)

    def ask(self, state: VariationState) -> tuple[VariationState, Float[Tensor, "points size"]]:
        """Return children of pairs of parents; see `Optimizer.ask`."""
        from ribs.emitters.operators import IsoLineOperator

        numbers, noise = draw_pairs(self.parents.count, self.population, state.seed, state.generation)
        children = IsoLineOperator(self._sigma, _LINE, seed=noise).ask(self.parents.pairs(numbers))
        return state._replace(generation=state.generation + 1), torch.from_numpy(children)

    def tell(
        self, state: VariationState, points: Float[Tensor, "points size"], fitness: Float[Tensor, " points"]
    ) -> VariationState:
        """Learn nothing; new policies in the archive are parents from the next round on."""
        return state

    def incumbent(self, state: VariationState) -> Float[Tensor, " size"]:
        """Return what it was begun at."""
        return state.start

    def sigma(self, state: VariationState) -> float:
        """Return the standard deviation of the isotropic part."""
        return self._sigma
