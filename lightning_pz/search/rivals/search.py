"""A learner of Stable-Baselines3 as a search, which the loop drives from one episode's end to the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

from lightning_pz.policy.saved import SavedPolicy
from lightning_pz.search.generation import Generation
from lightning_pz.search.objective import Problem
from lightning_pz.search.rivals.hyperparameters import Hyperparameters
from lightning_pz.search.rivals.learner import Learner
from lightning_pz.search.settings import check_algorithm_package


class BaselineState(NamedTuple):
    """A learner, which changes in place."""

    learner: Learner


class BaselineSearch:
    """A learner of Stable-Baselines3 behind `lightning_pz.search.generation.Search`.

    A generation lasts until an episode ends after at least `chunk` environment steps, or the next rollout would go beyond one
    of the `stops`, counts of `episodes` and `steps` from the first; the whole budget bounds the replay buffer and the
    schedules.
    """

    is_pure: ClassVar[bool] = False
    state_types: ClassVar[tuple[type, ...]] = ()

    def __init__(
        self,
        algorithm: str,
        given: Hyperparameters,
        problem: Problem,
        *,
        seed: int,
        budget: int,
        chunk: int,
        stops: Mapping[str, Sequence[int]] = MappingProxyType({}),
    ) -> None:
        check_algorithm_package(algorithm)
        self.algorithm, self.given, self.problem = algorithm, given, problem
        self.seed, self.budget, self.chunk, self.stops = seed, budget, chunk, stops

    def begin(self) -> BaselineState:
        return BaselineState(Learner(self.algorithm, self.given, self.problem, self.seed, self.budget))

    @property
    def least_budget(self) -> int:
        return self.given.least_steps(self.problem.spec.horizon)

    def cost(self, state: BaselineState) -> int:
        """Return the steps of one rollout: a generation is cut short before it exceeds the budget."""
        return self.least_budget

    def step(self, state: BaselineState) -> tuple[BaselineState, Generation]:
        """Learn up to the end of an episode; the returns are those of the last 100 episodes."""
        learner = state.learner
        steps, episodes = learner.steps, learner.ended
        learner.learn(self.chunk, self.stops.get("episodes", ()), self.stops.get("steps", ()))
        generation = Generation(learner.steps - steps, learner.returns, float("nan"), learner.ended - episodes)
        return state, generation

    def incumbent(self, state: BaselineState) -> SavedPolicy:
        return state.learner.policy()

    def pack(self, state: BaselineState) -> dict[str, Any]:
        return state.learner.pack()

    def unpack(self, packed: dict[str, Any]) -> BaselineState:
        state = self.begin()
        state.learner.unpack(packed)
        return state
