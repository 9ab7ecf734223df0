"""The best of as many random points as the budget allows: what every search has to beat."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_pz.search.algorithm_settings import RandomLatentSettings
from lightning_pz.search.protocol import generator_from, generator_state


class RandomState(NamedTuple):
    """What has been found so far.

    Attributes:
        best: The best point, (d,) float64; the start before any was tried.
        fitness: Its fitness, minus infinity before that.
        generator: State of the random generator, uint8.
    """

    best: Tensor
    fitness: float
    generator: Tensor


class RandomLatent:
    """Independent standard normal points behind `lightning_pz.search.protocol.Optimizer`.

    Args:
        settings: Points per generation.
    """

    def __init__(self, settings: RandomLatentSettings) -> None:
        settings.check()
        self.settings = settings

    @property
    def population(self) -> int:
        """Points per generation."""
        return self.settings.population

    def begin(self, start: Float[Tensor, " size"], seed: int) -> RandomState:
        """Return the first state; see `Optimizer.begin`."""
        return RandomState(start.double(), -torch.inf, generator_state(seed))

    def ask(self, state: RandomState) -> tuple[RandomState, Float[Tensor, "points size"]]:
        """Return points; see `Optimizer.ask`."""
        generator = generator_from(state.generator)
        points = torch.randn(self.population, len(state.best), generator=generator, dtype=torch.double)
        return state._replace(generator=generator.get_state()), points

    def tell(
        self, state: RandomState, points: Float[Tensor, "points size"], fitness: Float[Tensor, " points"]
    ) -> RandomState:
        """Keep the best; see `Optimizer.tell`."""
        clean = torch.where(torch.isfinite(fitness), fitness, -torch.inf)
        number = int(clean.argmax())
        if float(clean[number]) <= state.fitness:
            return state
        return state._replace(best=points[number].clone(), fitness=float(clean[number]))

    def incumbent(self, state: RandomState) -> Float[Tensor, " size"]:
        """Return the best point so far."""
        return state.best

    def sigma(self, state: RandomState) -> float:
        """Return the standard deviation of the points, which is always 1."""
        return 1.0
