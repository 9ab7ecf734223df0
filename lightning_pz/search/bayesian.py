"""Bayesian optimization by single episodes: every episode counts at once, so that the first few already give an answer.

It tries the best policies of a grown pool, as the decoder gives them, anchored or not, and policies around those that
turn out well. Each generation is the episode of which a Gaussian process expects most.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_pz.envs.episode_seeds import episode_seeds, seed_of
from lightning_pz.policy.saved import SavedPolicy
from lightning_pz.search.algorithm_settings import BoSettings
from lightning_pz.search.gaussian_process import GaussianProcess, Policies, condition, knowledge_gradient
from lightning_pz.search.generation import Generation
from lightning_pz.search.objective import Objective
from lightning_pz.search.spaces import SearchSpace

GIVEN, ANCHORED, DECODED = range(3)
"""Forms of a policy: a given one as it is; decoded, with a shift that makes a given one behave as it did; decoded."""
_AHEAD = 8  # Given policies of each form, and three times as many random latents, among which the next one is chosen
_PARENTS, _CHILDREN = 4, 24  # The best so far, and how many steps from each are considered
_LEAST_STEP = 0.03  # Standard deviation of the shortest steps, in each coordinate
_REMEMBERED = 200  # Most policies that the process takes into account, half of them the best, half the latest


class BoState(NamedTuple):
    """Policies that were tried, m of them, and every episode, n of them."""

    steps: int  # Environment steps so far
    points: Tensor  # (m, k) float64
    forms: Tensor  # (m,)
    origins: Tensor  # The given policy from which each comes, (m,); -1 for none
    played: Tensor  # Number of the policy, (n,)
    returns: Tensor  # Return, NaN for one that turned non-finite, (n,) float64


class Candidate(NamedTuple):
    """A policy to try."""

    point: Tensor  # (k,) float64
    form: int
    origin: int


@dataclass(eq=False, kw_only=True)
class BoSearch:
    """Bayesian optimization behind `lightning_pz.search.generation.Search`.

    The answer is the policy with the best posterior mean among those that were tried; before the first episode the first
    given policy, or the middle of the latents.
    """

    is_pure: ClassVar[bool] = True
    state_types: ClassVar[tuple[type, ...]] = (BoState,)
    objective: Objective  # Returns of policies
    space: SearchSpace  # The latents
    settings: BoSettings
    seed: int  # Of steps, random latents and episodes
    given: Float[Tensor, "given params"] | None = None  # Policies to try, the first one first, (g, P)
    # From decoded weights and those they were decoded from, (n, P) each, to a shift; policies are not anchored if None
    anchor: Callable[[Tensor, Tensor], Tensor] | None = None
    _encoded: Tensor = field(init=False)  # Points of the given policies, (g, k)
    _shifts: dict[int, Tensor] = field(init=False, default_factory=dict)  # By given policy; made when first needed

    def __post_init__(self) -> None:
        self._encoded = torch.zeros(0, self.space.size, dtype=torch.double)
        if self.given is not None:
            assert self.space.encode is not None
            self._encoded = self.space.encode(self.given)

    @property
    def least_budget(self) -> int:
        return self.objective.problem.spec.horizon

    def cost(self, state: BoState) -> int:
        return self.least_budget

    def begin(self) -> BoState:
        none = torch.zeros(0, dtype=torch.long)
        return BoState(0, torch.zeros(0, self.space.size, dtype=torch.double), none, none, none, none.double())

    @torch.no_grad()
    def step(self, state: BoState) -> tuple[BoState, Generation]:
        """Play the episode that is expected to improve the answer most."""
        chosen = self._choose(state)
        same = (state.forms == chosen.form) & (state.origins == chosen.origin) & (state.points == chosen.point).all(1)
        number = int(same.nonzero()[0, 0]) if same.any() else len(same)
        returns = self.objective(self._weights(chosen), episode_seeds(self.seed, len(state.played), 1))
        if number == len(same):
            state = state._replace(
                points=torch.cat([state.points, chosen.point[None]]),
                forms=torch.cat([state.forms, torch.tensor([chosen.form])]),
                origins=torch.cat([state.origins, torch.tensor([chosen.origin])]),
            )
        following = state._replace(
            steps=state.steps + returns.steps,
            played=torch.cat([state.played, torch.tensor([number])]),
            returns=torch.cat([state.returns, torch.from_numpy(returns.mean)]),
        )
        return following, Generation(returns.steps, returns.mean, math.nan, returns.each.size, returns.is_lost)

    @torch.no_grad()
    def incumbent(self, state: BoState) -> SavedPolicy:
        chosen = self._first()
        if len(state.played):
            rows, process = _learn(state)
            chosen = _candidate(state, int(rows[process.posterior().expected.argmax()]))
        return SavedPolicy.of(self.objective.problem.network, self._weights(chosen)[0])

    def pack(self, state: BoState) -> BoState:
        return state

    def unpack(self, packed: BoState) -> BoState:
        return packed

    def _first(self) -> Candidate:
        if self.given is None:
            return Candidate(self.space.draw(1, seed_of(self.seed, 0))[0], DECODED, -1)
        return Candidate(self._encoded[0], GIVEN, 0)

    def _choose(self, state: BoState) -> Candidate:
        if not len(state.played):
            return self._first()
        rows, process = _learn(state)
        parents = rows[process.posterior().expected.topk(min(_PARENTS, len(rows))).indices].tolist()
        # Of its own, so that none has to be saved.
        generator = torch.Generator().manual_seed(episode_seeds(seed_of(self.seed, 1), len(state.played), 1)[0])
        untried = self._untried(state) if self.given is not None else self._random(generator)
        new = [*untried, *self._children([_candidate(state, row) for row in parents], generator)]
        others = Policies(torch.stack([c.point for c in new]), torch.tensor([c.form for c in new]))
        best = int(knowledge_gradient(process.posterior(others)).argmax())
        return _candidate(state, int(rows[best])) if best < len(rows) else new[best - len(rows)]

    def _untried(self, state: BoState) -> list[Candidate]:
        """Return the next given policies in each form.

        Only the first is played as it is: to try the others unchanged too gave no better answers on HalfCheetah and Hopper.
        """
        assert self.given is not None
        is_own = (state.points == self._encoded[state.origins]).all(1)
        tried = set(zip(state.forms[is_own].tolist(), state.origins[is_own].tolist(), strict=True))
        forms = (GIVEN, DECODED) if self.anchor is None else (ANCHORED, DECODED)
        found: list[Candidate] = []
        for form in forms:
            left = [i for i in range(len(self.given)) if (form, i) not in tried][:_AHEAD]
            found += [Candidate(self._encoded[i], form, i) for i in left]
        return found

    def _random(self, generator: torch.Generator) -> list[Candidate]:
        assert self.space.sample is not None
        return [Candidate(point, DECODED, -1) for point in self.space.sample(3 * _AHEAD, generator)]

    def _children(self, parents: list[Candidate], generator: torch.Generator) -> list[Candidate]:
        """Return policies a step of random length and direction away from some."""
        found: list[Candidate] = []
        for parent in parents:
            # Steps from a given policy itself are around what the decoder makes of it.
            form = parent.form if parent.form != GIVEN else DECODED if self.anchor is None else ANCHORED
            lengths = torch.rand(_CHILDREN, 1, generator=generator, dtype=torch.double)
            least = min(_LEAST_STEP, self.settings.step)
            sigma = least * (self.settings.step / least) ** lengths
            noise = torch.randn(_CHILDREN, self.space.size, generator=generator, dtype=torch.double)
            found += [Candidate(point, form, parent.origin) for point in parent.point + sigma * noise]
        return found

    def _weights(self, chosen: Candidate) -> Float[Tensor, "one params"]:
        """Return the weights of a policy, (1, P)."""
        if chosen.form == DECODED:
            return self.space.decode(chosen.point[None])
        assert self.given is not None
        params = self.given[chosen.origin][None]
        if chosen.form == GIVEN:
            return params
        if chosen.origin not in self._shifts:
            assert self.anchor is not None
            self._shifts[chosen.origin] = self.anchor(self.space.decode(self._encoded[chosen.origin][None]), params)
        return self.space.decode(chosen.point[None]) + self._shifts[chosen.origin]


def _candidate(state: BoState, number: int) -> Candidate:
    return Candidate(state.points[number], int(state.forms[number]), int(state.origins[number]))


def _learn(state: BoState) -> tuple[Tensor, GaussianProcess]:
    """Return the numbers of the policies that count, and the process given their returns."""
    finite = torch.isfinite(state.returns)
    known = state.returns[finite] if finite.any() else torch.zeros(1, dtype=torch.double)
    # One that turned non-finite is as bad as any, but not so bad that it would spoil the scale.
    drop = torch.maximum(known.std(correction=0), 0.1 * known.abs().max()).clamp_min(1e-6)
    returns = torch.where(finite, state.returns, known.min() - drop)
    episodes = torch.bincount(state.played).double()
    means = torch.zeros_like(episodes).index_add_(0, state.played, returns) / episodes
    rows = torch.arange(len(means))
    if len(rows) > _REMEMBERED:
        earlier, latest = rows[: -_REMEMBERED // 2], rows[-_REMEMBERED // 2 :]
        rows = torch.cat([means[earlier].topk(_REMEMBERED // 2).indices.sort().values, latest])
    return rows, condition(Policies(state.points[rows], state.forms[rows]), means[rows], episodes[rows])
