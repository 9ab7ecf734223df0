"""The protocol of an optimizer: pure functions on immutable state that ask for points and learn how good they were.

All randomness lives in the state, so that one that was saved and loaded continues as if nothing had happened.
"""

from __future__ import annotations

from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

State = TypeVar("State", bound=tuple)
Vector = Float[Tensor, " size"]
Vectors = Float[Tensor, "points size"]
Fitness = Float[Tensor, " points"]


@runtime_checkable
class Optimizer(Protocol[State]):
    """Maximizes a function of a vector from noisy values; `ask` and `tell` change nothing: they return a state."""

    @property
    def population(self) -> int:
        """Points per generation, n."""

    def begin(self, start: Vector, seed: int) -> State:
        """Return the first state, searching around `start`, (d,) float64."""

    def ask(self, state: State) -> tuple[State, Vectors]:
        """Return the state to give to `tell`, and the points to try, (n, d) float64."""

    def tell(self, state: State, points: Vectors, fitness: Fitness) -> State:
        """Return the state after `ask`'s, with its points; more fitness is better, non-finite the worst."""

    def incumbent(self, state: State) -> Vector:
        """Return the point that is the search's answer so far, (d,)."""

    def sigma(self, state: State) -> float:
        """Return the mean standard deviation of the search distribution, in the units of the points."""


def centered_ranks(fitness: Fitness) -> Fitness:
    """Return ranks from -0.5 (worst, non-finite) to 0.5 (best), ties sharing their mean, as Salimans et al. 2017 do."""
    if len(fitness) < 2:
        return torch.zeros_like(fitness)
    clean = torch.where(torch.isfinite(fitness), fitness, -torch.inf)
    _, which, counts = clean.unique(return_inverse=True, return_counts=True)
    ends = counts.cumsum(0).to(fitness.dtype)
    ranks = ends - (counts + 1) / 2  # mean of the ranks from 0 that a group of equals takes
    return ranks[which] / (len(fitness) - 1) - 0.5
