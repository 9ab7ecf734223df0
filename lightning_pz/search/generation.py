"""The protocol of a search, which the loop drives one generation at a time, and the base of searches from starts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from torch import Tensor

from lightning_pz.envs.episode_seeds import episode_seeds
from lightning_pz.policy.saved import SavedPolicy
from lightning_pz.search.objective import Objective, PolicyReturns
from lightning_pz.search.spaces import SearchSpace


class Generation(NamedTuple):
    """What one generation of a search did."""

    steps: int  # Environment steps it took
    returns: np.ndarray  # Mean return of each policy that was tried, (n,) float64; NaN for one that turned non-finite
    sigma: float  # Spread of the search, NaN where there is none
    episodes: int  # Episodes it took, all policies together
    is_lost: bool = False  # Whether none of its episodes stayed finite
    updates: int = 0  # On old data, before the first step; others follow from the steps


@runtime_checkable
class Search(Protocol):
    """One algorithm on one task: an optimizer of points, a policy gradient, or another library."""

    is_pure: ClassVar[bool]  # Whether `step` leaves the given state as it is; else what it began cannot be taken back
    state_types: ClassVar[tuple[type, ...]]  # Types of packed states, for the loader of saved states

    @property
    def least_budget(self) -> int:
        """The most environment steps that the starts and one generation can take."""

    def begin(self) -> Any:
        """Return the first state, before any environment step."""

    def cost(self, state: Any) -> int:
        """Return the most environment steps that the next generation can take."""

    def step(self, state: Any) -> tuple[Any, Generation]:
        """Take one generation and return the next state; the given one does not change if `is_pure`."""

    def incumbent(self, state: Any) -> SavedPolicy:
        """Return the policy that is the search's answer so far; before the first generation the one it begins with."""

    def pack(self, state: Any) -> Any:
        """Return a state as plain data for a file."""

    def unpack(self, packed: Any) -> Any:
        """Return the state that was packed."""


@dataclass(eq=False, kw_only=True)
class SearchFromStarts(ABC):
    """What searches share whose first generation tries starts, and which may release the decoder."""

    objective: Objective  # Returns of policies
    weights: SearchSpace  # The parameter space, to continue in after a release
    seed: int  # Of starts, optimizer, noise and episodes
    starts: int  # How many are tried in the first generation; none if 0
    start_episodes: int  # Episodes per start
    release_at: int | None = None  # Environment steps after which the decoder is released; never if None
    is_pure: ClassVar[bool] = True

    @property
    @abstractmethod
    def generation_episodes(self) -> int:
        """Episodes of a generation, all policies together."""

    @property
    def least_budget(self) -> int:
        return self._cost(True) + self._cost(False)

    def cost(self, state: Any) -> int:
        return self._cost(bool(self.starts) and not state.generation)

    def _cost(self, is_start: bool) -> int:
        episodes = self.starts * self.start_episodes if is_start else self.generation_episodes
        return episodes * self.objective.problem.spec.horizon

    def try_starts(self, params: Float[Tensor, "starts params"]) -> PolicyReturns:
        """Play the episodes of the starts, (n, P)."""
        return self.objective(params, episode_seeds(self.seed, 0, self.start_episodes))

    def pack(self, state: Any) -> Any:
        """Return the state itself, which is plain data."""
        return state

    def unpack(self, packed: Any) -> Any:
        """Return the state itself."""
        return packed

    def is_release_due(self, state: Any) -> bool:
        """Return whether the next generation is the first without the decoder."""
        return self.release_at is not None and state.steps >= self.release_at and not state.released
