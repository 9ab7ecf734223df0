"""The protocol of a search, which the loop drives one generation at a time, and what searches from starts share.

A search may wrap an optimizer (`population`), follow a gradient (`gradient`) or wrap another library (`baselines`).
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from torch import Tensor

from lightning_pz.policy.saved import SavedPolicy
from lightning_pz.search.objective import Objective, PolicyReturns, episode_seeds
from lightning_pz.search.spaces import SearchSpace


class Generation(NamedTuple):
    """What one generation of a search did.

    Attributes:
        steps: Environment steps it took.
        returns: Mean return of each policy that was tried, (n,) float64; NaN for one that turned non-finite.
        sigma: Spread of the search, NaN where there is none.
        is_lost: Whether none of its episodes stayed finite.
    """

    steps: int
    returns: np.ndarray
    sigma: float
    is_lost: bool = False


@runtime_checkable
class Search(Protocol):
    """One algorithm on one task, one generation at a time.

    Attributes:
        resumable: Whether a state can be saved and resumed. If not, an interrupted run begins again.
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
        """Take one generation and return the next state; the given one does not change if `resumable`."""
        ...

    def incumbent(self, state: Any) -> SavedPolicy:
        """Return the policy that is the search's answer so far."""
        ...


class SearchFromStarts:
    """What searches share whose first generation tries starts, and which may release the decoder.

    Their states count `generation` and `steps`, and say whether they are `released`.

    Args:
        objective: Returns of policies.
        weights: The parameter space, to continue in without the decoder.
        seed: Of starts, noise and episodes.
        episodes: Episodes of a generation, all policies together.
        starts: How many are tried in the first generation; none if 0.
        start_episodes: Episodes per start.
        release_at: Environment steps after which the decoder is released; never if None.
    """

    resumable = True

    def __init__(
        self,
        objective: Objective,
        weights: SearchSpace | None,
        *,
        seed: int,
        episodes: int,
        starts: int,
        start_episodes: int,
        release_at: int | None,
    ) -> None:
        self.objective, self.weights, self.seed, self.release_at = objective, weights, seed, release_at
        self.starts, self.start_episodes = starts, start_episodes
        horizon = objective.problem.spec.horizon
        self._start_cost, self._generation_cost = starts * start_episodes * horizon, episodes * horizon

    @property
    def least_budget(self) -> int:
        """Steps that the starts and one generation may take; see `Search.least_budget`."""
        return self._start_cost + self._generation_cost

    def cost(self, state: Any) -> int:
        """Return the most steps of the next generation; see `Search.cost`."""
        return self._start_cost if self.starts and not state.generation else self._generation_cost

    def try_starts(self, params: Float[Tensor, "starts params"]) -> PolicyReturns:
        """Play the episodes of the starts, (n, P)."""
        return self.objective(params, episode_seeds(self.seed, 0, self.start_episodes))

    def is_release_due(self, state: Any) -> bool:
        """Return whether the next generation is the first without the decoder."""
        return self.release_at is not None and state.steps >= self.release_at and not state.released
