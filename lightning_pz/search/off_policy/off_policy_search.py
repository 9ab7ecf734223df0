"""An off-policy search: starts, old data, and then whole episodes, by which the answer is chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_pz.common.checks import check_extra
from lightning_pz.policy.saved import SavedPolicy
from lightning_pz.replay.transitions import Transitions
from lightning_pz.search.generation import Generation
from lightning_pz.search.objective import Problem
from lightning_pz.search.off_policy import pace_rules
from lightning_pz.search.off_policy.actor import ActorStart
from lightning_pz.search.off_policy.judge import holds, judge
from lightning_pz.search.off_policy.off_policy_learner import OffPolicyLearner, Recipe

FIRST_JUDGED = 1 << 20
"""Number of the first judged episode; those with noise count from 0."""
_UPDATES = 500  # of a generation on old data


@dataclass
class Book:
    """What an off-policy search knows beside its learner; plain data and tensors."""

    tried: list[float] = field(default_factory=list)  # Return of each episode of the starts that were tried
    critic_updates: int = 0  # Of the critics alone, on old data
    joint_updates: int = 0  # On old data
    alone: int = 0  # Updates of the critics alone, on new data
    params: Tensor | None = None  # Weights of the incumbent; None before the starts are tried
    place: dict[str, Tensor] = field(default_factory=dict)  # What the incumbent's actor learned
    returns: list[float] = field(default_factory=list)  # Of the incumbent's judged episodes
    is_measured: bool = False  # Whether the start has played its judged episodes
    asks: bool = True  # Whether the next episode is a candidate's; else one with noise
    candidate: list[float] = field(default_factory=list)  # Returns of the candidate's judged episodes so far
    judged: int = 0  # Steps of those, or of the start's
    explored: int = 0  # Episodes with noise
    owed: int = 0  # Steps whose updates are due once no candidate is being judged
    tie: float = 0.0  # To the incumbent's actions

    @property
    def updates(self) -> int:
        """Updates on old data before the first step."""
        return self.critic_updates + self.joint_updates


@dataclass
class OffPolicyState:
    """A learner and the search's book, which change in place."""

    learner: OffPolicyLearner
    book: Book


class OffPolicySearch:
    """TD3, SAC or TQC with a decoded actor behind `lightning_pz.search.generation.Search`.

    A generation is one episode, or some updates on old data, which take no step. First each start is tried, if there are
    several; the best is the incumbent and plays as many judged episodes, which have no noise, as are a horizon's worth of
    steps, but two at least. Then critics learn from old data, and after them the actor too. From then on a candidate, the
    average of the actor over the last updates, plays the same episodes until `judge` knows whether it is the next
    incumbent; then comes an episode with noise, and the next candidate. Updates follow each episode, but wait while a
    candidate is being judged. Without old data the critics learn alone first, for `enough` updates. An actor that has not
    moved since it was the incumbent's is no candidate: updates that wait come first, and if it rests all the same, an episode
    with noise.

    With a `share` of 1 nothing is played after the starts, and the answer is what the old data make of the best.
    """

    is_pure: ClassVar[bool] = False
    state_types: ClassVar[tuple[type, ...]] = ()

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
        each: int = 1,
    ) -> None:
        # Both libraries are imported, whatever the algorithm.
        check_extra("sb3_contrib", "baselines", f"--algorithm {recipe.algorithm} with --space")
        self.recipe, self.problem, self.seed, self.budget = recipe, problem, seed, budget
        self.tries, self.each = tries, each  # Episodes of all starts together, and of each
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
        book = Book(tie=self._first_tie(old))
        if not self.tries:
            self._adopt(learner, book)
        return OffPolicyState(learner, book)

    @property
    def least_budget(self) -> int:
        return (self.tries + 2 * (self.recipe.share < 1)) * self.problem.spec.horizon

    def cost(self, state: OffPolicyState) -> int:
        book, horizon = state.book, self.problem.spec.horizon
        if self._tries_next(book) or self._plays_start_next(book):
            return horizon
        if self._learns_from_old_next(book):
            return 0
        return horizon if self.recipe.share < 1 else self.budget + 1  # the end

    def step(self, state: OffPolicyState) -> tuple[OffPolicyState, Generation]:
        learner, book = state.learner, state.book
        steps, ended, updates = learner.steps, learner.ended, book.updates
        if self._tries_next(book):
            self._try(learner, book)
        elif self._plays_start_next(book):
            self._play_start(learner, book)
        elif self._learns_from_old_next(book):
            self._learn_from_old(learner, book)
        elif self._has_candidate(learner, book):
            self._play_candidate(learner, book)
        else:
            book.owed += learner.play(book.explored, explores=True)[0]
            book.explored, book.asks = book.explored + 1, True
            self._pay(learner, book)
        taken = learner.ended - ended
        returns = learner.returns[-1:] if taken else np.empty(0)
        return state, Generation(learner.steps - steps, returns, float("nan"), taken, updates=book.updates - updates)

    def incumbent(self, state: OffPolicyState) -> SavedPolicy:
        """Return the best policy by own episodes, at first the start; where none are played, what the old data made of it."""
        if self._tries_next(state.book):
            means = self._means(state.book)
            return SavedPolicy.of(
                self.problem.network, self._weights(self.starts[int(means.argmax()) if len(means) else 0])
            )
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

    def _tries_next(self, book: Book) -> bool:
        return len(book.tried) < self.tries

    def _plays_start_next(self, book: Book) -> bool:
        return self.recipe.share < 1 and not book.is_measured

    def _learns_from_old_next(self, book: Book) -> bool:
        s = self.recipe.settings
        is_due = book.critic_updates < s.critic_updates or book.joint_updates < s.joint_updates
        return self._old is not None and is_due

    def _try(self, learner: OffPolicyLearner, book: Book) -> None:
        learner.begin_at(self.starts[len(book.tried) // self.each])
        self._play(learner, book, book.tried, len(book.tried) % self.each)
        if not self._tries_next(book):
            learner.begin_at(self.starts[int(self._means(book).argmax())])
            self._adopt(learner, book)
            book.judged = 0

    def _means(self, book: Book) -> Float[np.ndarray, " starts"]:
        """Return the mean return of each start whose episodes are all played."""
        whole = len(book.tried) - len(book.tried) % self.each
        return np.reshape(book.tried[:whole], (-1, self.each)).mean(1)

    @torch.no_grad()
    def _weights(self, start: ActorStart) -> Float[Tensor, " params"]:
        """Return the weights with which an actor begins at a start."""
        if start.point is None or self.recipe.decode is None:
            return start.base
        return start.base + self.recipe.decode(start.point.float()[None])[0]

    def _play(self, learner: OffPolicyLearner, book: Book, returns: list[float], number: int) -> None:
        """Play a judged episode, whose number says its seed."""
        steps, value = learner.play(FIRST_JUDGED + number, explores=False)
        returns.append(value)
        book.judged += steps
        book.owed += steps

    def _play_start(self, learner: OffPolicyLearner, book: Book) -> None:
        # After the episodes by which it was chosen among the starts, which flatter it.
        self._play(learner, book, book.returns, len(book.returns) + (self.each if self.tries else 0))
        if len(book.returns) > 1 and book.judged >= self.problem.spec.horizon:
            book.judged, book.is_measured = 0, True

    def _learn_from_old(self, learner: OffPolicyLearner, book: Book) -> None:
        s = self.recipe.settings
        if (left := s.critic_updates - book.critic_updates) > 0:
            learner.update(min(left, _UPDATES), critics_only=True)
            book.critic_updates += min(left, _UPDATES)
            return
        count = min(s.joint_updates - book.joint_updates, _UPDATES)
        self._update(learner, book, count)
        book.joint_updates += count

    def _has_candidate(self, learner: OffPolicyLearner, book: Book) -> bool:
        """Return whether a candidate plays next, after the updates that it takes to have one."""
        if not book.asks or book.candidate:
            return book.asks
        assert book.params is not None
        if torch.equal(learner.average(), book.params):
            self._pay(learner, book)
        return not torch.equal(learner.average(), book.params)

    def _play_candidate(self, learner: OffPolicyLearner, book: Book) -> None:
        self._play(learner, book, book.candidate, len(book.candidate) + (self.each if self.tries else 0))
        count = len(book.candidate)
        is_enough = count == len(book.returns) or (count > 1 and book.judged >= self.problem.spec.horizon)
        verdict = judge(book.returns, book.candidate, is_enough)
        if verdict == "play":
            return
        if verdict == "adopt":
            # The tie stays as it is, to another place.
            self._adopt(learner, book)
            book.returns = book.candidate
        else:
            self._tie_anew(learner, book)
        book.candidate, book.judged, book.asks = [], 0, False
        self._pay(learner, book)

    def _first_tie(self, old: Transitions | None) -> float:
        """Return how closely the actor is tied at first: only where episodes can end, unless the settings say."""
        if (given := self.recipe.settings.tie) is not None:
            return given
        return pace_rules.FIRST_TIE if old is not None and old.terminated.any() else 0.0

    def _adopt(self, learner: OffPolicyLearner, book: Book) -> None:
        book.params, book.place = learner.average().clone(), learner.place()

    def _tie_anew(self, learner: OffPolicyLearner, book: Book) -> None:
        """Loosen the tie if a dropped candidate held what the incumbent earns; else tighten it, and go back there."""
        if holds(book.returns, book.candidate):
            book.tie /= pace_rules.LOOSENS
        else:
            book.tie *= pace_rules.TIGHTENS
            if book.tie:
                assert book.params is not None
                learner.go_back(book.place, book.params)

    def _pay(self, learner: OffPolicyLearner, book: Book) -> None:
        """Do the updates of the steps that were taken."""
        count, book.owed = book.owed * self.recipe.settings.updates_per_step, 0
        # Without old data the critics learn first, too.
        alone = min(count, self.recipe.settings.enough - book.alone) if self._old is None else 0
        if alone > 0:
            self._update(learner, book, alone, rests=True)
            book.alone += alone
            count -= alone
        self._update(learner, book, count)

    def _update(self, learner: OffPolicyLearner, book: Book, count: int, *, rests: bool = False) -> None:
        learner.model.tie, learner.model.tied_to = book.tie, book.params
        learner.update(count, critics_only=rests)
