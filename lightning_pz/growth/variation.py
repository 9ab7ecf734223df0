"""Variation of MAP-Elites instead of climbing: new policies from pairs of kept ones.

References:
    Vassiliades and Mouret 2018, Discovering the Elite Hypervolume by Leveraging Interspecies Correlation: Iso+LineDD,
    here as the package `ribs` has it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

_LINE = 0.2
"""Spread along the line through both parents, as a share of their distance; the paper's."""


class VariationState(NamedTuple):
    """Where a variation stands: it learns nothing."""

    start: Tensor  # what it was begun at, (d,) float64
    seed: int  # of all generations
    generation: int  # generations so far


class IsoLineVariation:
    """Iso+LineDD behind `lightning_pz.search.optimizers.protocol.Optimizer`.

    Args:
        parents: Points of the policies that are kept, (N, d); pairs are drawn from them.
        population: Points per generation.
        sigma: Standard deviation of the isotropic part, in units of the points.
    """

    def __init__(self, parents: Float[Tensor, "policies size"], population: int, sigma: float) -> None:
        self.parents, self.population, self._sigma = parents.double().numpy(), population, sigma

    def begin(self, start: Float[Tensor, " size"], seed: int) -> VariationState:
        """Return the first state; see `Optimizer.begin`."""
        return VariationState(start.double(), seed, 0)

    def ask(self, state: VariationState) -> tuple[VariationState, Float[Tensor, "points size"]]:
        """Return children of pairs of parents; see `Optimizer.ask`."""
        from ribs.emitters.operators import IsoLineOperator

        pairs, noise = np.random.SeedSequence([state.seed, state.generation]).generate_state(2)
        rows = np.random.default_rng(pairs).integers(len(self.parents), size=(2, self.population))
        children = IsoLineOperator(self._sigma, _LINE, seed=int(noise)).ask(self.parents[rows])
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
