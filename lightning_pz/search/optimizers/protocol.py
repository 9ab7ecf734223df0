"""What the loop drives, and what an optimizer is: pure functions on immutable state.

Two layers. An `Optimizer` asks for points and is told how good they were; it knows neither decoder nor
environment. A `Search` takes one generation at a time and counts environment steps; it may wrap an optimizer
(`lightning_pz.search.population`), follow a gradient, or wrap another library. Whatever is random lives in the
state, so that a state that was saved and loaded goes on as if nothing had happened.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_pz.policy.saved import SavedPolicy

State = TypeVar("State", bound=tuple)


@runtime_checkable
class Optimizer(Protocol[State]):
    """Maximizes a function of a vector from noisy values of it, one generation at a time.

    `ask` and `tell` change nothing: they return the next state.
    """

    @property
    def population(self) -> int:
        """Points per generation, n."""
        ...

    def begin(self, start: Float[Tensor, " size"], seed: int) -> State:
        """Return the first state, searching around `start`, (d,) float64."""
        ...

    def ask(self, state: State) -> tuple[State, Float[Tensor, "points size"]]:
        """Return the points to try, (n, d) float64, and the state to be told of them."""
        ...

    def tell(self, state: State, points: Float[Tensor, "points size"], fitness: Float[Tensor, " points"]) -> State:
        """Return the next state.

        Args:
            state: As `ask` returned it.
            points: As `ask` returned them.
            fitness: How good each was, (n,) float64, more is better; one that is not finite counts as the worst.
        """
        ...

    def incumbent(self, state: State) -> Float[Tensor, " size"]:
        """Return the point that the search would give as its answer now, (d,)."""
        ...

    def sigma(self, state: State) -> float:
        """Return the mean standard deviation of the search distribution, in the units of the points."""
        ...


class Generation(NamedTuple):
    """What one generation of a search did.

    Attributes:
        steps: Environment steps it took.
        returns: Mean return of each policy that was tried, (n,) float64; NaN for one that turned non-finite.
        sigma: Spread of the search, NaN where there is none.
        is_lost: Whether not one of its episodes stayed finite.
    """

    steps: int
    returns: np.ndarray
    sigma: float
    is_lost: bool = False


@runtime_checkable
class Search(Protocol):
    """One algorithm on one task, one generation at a time.

    Attributes:
        resumable: Whether a state can be saved and gone on from. If not, an interrupted run begins again.
        state_types: Types of its states, for the loader of saved states.
    """

    resumable: bool
    state_types: tuple[type, ...]

    @property
    def least_budget(self) -> int:
        """The most environment steps that the starts and one generation can take."""
        ...

    def begin(self) -> Any:
        """Return the first state, before any environment step."""
        ...

    def cost(self, state: Any) -> int:
        """Return the most environment steps that the next generation can take."""
        ...

    def step(self, state: Any) -> tuple[Any, Generation]:
        """Take one generation and return the next state; the given one stays as it is if `resumable`."""
        ...

    def incumbent(self, state: Any) -> SavedPolicy:
        """Return the policy that the search would give as its answer now."""
        ...


def centered_ranks(fitness: Float[Tensor, " points"]) -> Float[Tensor, " points"]:
    """Return ranks from -0.5 (worst) to 0.5 (best), equal ones sharing their mean; non-finite values rank last.

    References:
        Salimans et al. 2017, Evolution Strategies as a Scalable Alternative to Reinforcement Learning.
    """
    if len(fitness) < 2:
        return torch.zeros_like(fitness)
    clean = torch.where(torch.isfinite(fitness), fitness, -torch.inf)
    _, which, counts = clean.unique(return_inverse=True, return_counts=True)
    ends = counts.cumsum(0).to(fitness.dtype)
    ranks = ends - (counts + 1) / 2  # mean of the ranks from 0 that a group of equals takes
    return ranks[which] / (len(fitness) - 1) - 0.5


def generator_from(state: Tensor) -> torch.Generator:
    """Make the generator that a state holds; the state itself stays as it is."""
    generator = torch.Generator()
    generator.set_state(state)
    return generator


def generator_state(seed: int) -> Tensor:
    """Return the state of a fresh generator of this seed, (bytes,) uint8."""
    return torch.Generator().manual_seed(seed).get_state()
