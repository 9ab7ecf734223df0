"""The best of as many random latents as the budget allows, which every search has to beat."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_pz.search.algorithm_settings import RandomLatentSettings
from lightning_pz.search.optimizers.protocol import Fitness, Vector, Vectors


class RandomState(NamedTuple):
    """The best point so far."""

    best: Tensor  # The best point, (d,) float64; the start before any was tried
    fitness: float  # Its fitness; minus infinity before any was tried
    generator: Tensor  # State of the random generator, uint8


class RandomLatent:
    """Random points behind `lightning_pz.search.optimizers.protocol.Optimizer`, from a `SearchSpace.sample`."""

    def __init__(self, settings: RandomLatentSettings, sample: Callable[[int, torch.Generator], Tensor]) -> None:
        self.population, self._sample = settings.population, sample

    def begin(self, start: Vector, seed: int) -> RandomState:
        return RandomState(start.double(), -torch.inf, torch.Generator().manual_seed(seed).get_state())

    def ask(self, state: RandomState) -> tuple[RandomState, Vectors]:
        generator = torch.Generator().set_state(state.generator)
        points = self._sample(self.population, generator)
        return state._replace(generator=generator.get_state()), points

    def tell(self, state: RandomState, points: Vectors, fitness: Fitness) -> RandomState:
        clean = torch.where(torch.isfinite(fitness), fitness, -torch.inf)
        number = int(clean.argmax())
        if float(clean[number]) <= state.fitness:
            return state
        return state._replace(best=points[number].clone(), fitness=float(clean[number]))

    def incumbent(self, state: RandomState) -> Vector:
        return state.best

    def sigma(self, state: RandomState) -> float:
        """Return the standard deviation of the points, which is always about 1."""
        return 1.0
