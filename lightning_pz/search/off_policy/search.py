"""An off-policy search: starts, old data, and then whole episodes, by which the answer is chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_pz.policy.saved import SavedPolicy
from lightning_pz.search.generation import Generation
from lightning_pz.search.objective import Problem
from lightning_pz.search.off_policy.actor import ActorStart
from lightning_pz.search.off_policy.judge import Spread, judge
from lightning_pz.search.off_policy.learner import OffPolicyLearner, Recipe
from lightning_pz.search.settings import check_algorithm_package

_UPDATES = 500  # of a generation on old data


@dataclass
class Book:
    """What an off-policy search knows beside its learner; plain data and tensors."""

    start: int = 0  # Which start the actor began at
    tried: list[float] = field(default_factory=list)  # Return of each start that was tried
    critic_updates: int = 0  # Of the critics alone, on old data
    joint_updates: int = 0  # On old data
    params: Tensor | None = None  # Weights of the incumbent; None before its first episode
    returns: list[float] = field(default_factory=list)  # Of the incumbent's episodes without noise
    played: int = 0  # Steps of those
    asks: bool = True  # Whether the next episode is a candidate's; else one with noise
    first: float | None = None  # Return of the candidate's first episode
    confirming: list[float] = field(default_factory=list)  # Those of its others
    confirmed: int = 0  # Steps of those
    owed: int = 0  # Steps whose updates are due once no candidate is being confirmed
    spread: Spread = field(default_factory=Spread)  # Of the episodes of one policy


@dataclass
class OffPolicyState:
    """A learner and the search's book, which change in place."""

    learner: OffPolicyLearner
    book: Book


class OffPolicySearch:
    """TD3, SAC or TQC with a decoded actor behind `lightning_pz.search.generation.Search`.

    A generation is one episode, or some updates on old data, which take no step. First each start is tried, if there are
    several. Then critics learn from old data, and after them the actor too. The start plays as many episodes as are a
    horizon's worth of steps, and is the incumbent. From then on a candidate, the actor as it is, plays an episode without
    noise, and more if `judge` wants them; then comes an episode with noise, and the next candidate. Updates follow each
    episode, but wait while a candidate is being confirmed.

    With a `share` of 1 nothing is played after the starts, and the answer is what the old data make of the best.
    """

    is_pure: ClassVar[bool] = False
    state_types: ClassVar[tuple[type, ...]] = (Spread,)

    def __init__(
        self,
        recipe: Recipe,
        starts: Callable[[], Sequence[ActorStart]],
        old: Callable[[], Any] | None,
        problem: Problem,
        *,
        seed: int,
        budget: int,
        tries: int,
    ) -> None:
        check_algorithm_package(recipe.algorithm)
        self.recipe, self.problem, self.seed, self.budget, self.tries = recipe, problem, seed, budget, tries
        self._starts, self._old = starts, old
        self._made: list[ActorStart] | None = None

    @property
    def starts(self) -> list[ActorStart]:
        """Where the actor may begin, the most promising first."""
        if self._made is None:
            self._made = list(self._starts())
        return self._made

    def begin(self) -> OffPolicyState:
        old = None if self._old is None else self._old()
        learner = OffPolicyLearner(self.recipe, self.starts[0], old, self.problem, self.seed, self.budget)
        return OffPolicyState(learner, Book())

    @property
    def least_budget(self) -> int:
        return (self.tries + (self.recipe.share < 1)) * self.problem.spec.horizon

    def cost(self, state: OffPolicyState) -> int:
        if self._tries_next(state.book):
            return self.problem.spec.horizon
        if self._waits_for_old_data(state.book):
            return 0
        return self.problem.spec.horizon if self.recipe.share < 1 else self.budget + 1

    def step(self, state: OffPolicyState) -> tuple[OffPolicyState, Generation]:
        learner, book = state.learner, state.book
        if self._tries_next(book):
            return state, self._try(learner, book)
        if self._waits_for_old_data(book):
            return state, self._learn_from_old(learner, book)
        if book.played < self.problem.spec.horizon:
            return state, self._play_start(learner, book)
        return state, (self._play_candidate if book.asks else self._explore)(learner, book)

    def incumbent(self, state: OffPolicyState) -> SavedPolicy:
        """Return the best policy by own episodes, or the start; without own episodes what the old data made."""
        if state.book.params is None or self.recipe.share == 1:
            return state.learner.policy()
        return SavedPolicy.of(self.problem.network, state.book.params)

    def pack(self, state: OffPolicyState) -> dict[str, Any]:
        return {"learner": state.learner.pack(), "book": vars(state.book)}

    def unpack(self, packed: dict[str, Any]) -> OffPolicyState:
        state = self.begin()
        state.learner.unpack(packed["learner"])
        state.book = Book(**packed["book"])
        return state
