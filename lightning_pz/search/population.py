"""An optimizer on a search space: one generation asks, decodes, plays, and tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_pz.envs.episode_seeds import episode_seeds, seed_of
from lightning_pz.policy.saved import SavedPolicy
from lightning_pz.search.generation import Generation, SearchFromStarts
from lightning_pz.search.optimizers.clipup_adam import Adam, ClipUp
from lightning_pz.search.optimizers.cmaes import CmaesState
from lightning_pz.search.optimizers.pgpe import PgpeState
from lightning_pz.search.optimizers.protocol import Optimizer
from lightning_pz.search.optimizers.random_latent import RandomState
from lightning_pz.search.spaces import SearchSpace


class PopulationState(NamedTuple):
    """State of a search by population."""

    generation: int  # Generations so far, the trial of the starts included
    inner: Any  # The optimizer's state; None before the starts were tried
    steps: int = 0  # Environment steps so far
    released: bool = False  # Whether the points are weights, the decoder having been released
    # What is added to decoded weights, (P,), so that the start behaves like the policy that was given; None for nothing
    shift: Tensor | None = None


@dataclass(eq=False, kw_only=True)
class PopulationSearch(SearchFromStarts):
    """An optimizer behind `lightning_pz.search.generation.Search`.

    It begins at the best of some starts, drawn or given, which the first generation tries; without starts at the first
    given point, or at the origin. After a release it begins again, in weights, at the decoded incumbent.
    """

    state_types: ClassVar[tuple[type, ...]] = (PopulationState, PgpeState, ClipUp, Adam, CmaesState, RandomState)
    optimizer: Optimizer  # Asks for points and learns how good they were
    space: SearchSpace  # What the points are
    episodes: int  # Episodes per policy and generation
    given: Float[Tensor, "points size"] | None = None  # Points to begin at, the best first, (n, d); drawn if None
    # From given points, (n, d), to what is added to weights decoded around each, (n, P); nothing if None
    anchor: Callable[[Tensor], Tensor] | None = None
    # The optimizer after the release, its lengths in units of the parameter space; `optimizer` if None
    released: Optimizer | None = None

    @property
    def generation_episodes(self) -> int:
        return self.optimizer.population * self.episodes

    def begin(self) -> PopulationState:
        if self.starts:
            return PopulationState(0, None)
        start = torch.zeros(self.space.size, dtype=torch.double) if self.given is None else self.given[0]
        shift = None if self.anchor is None else self.anchor(start[None])[0]
        return PopulationState(0, self.optimizer.begin(start, seed_of(self.seed, 1)), shift=shift)

    @torch.no_grad()
    def step(self, state: PopulationState) -> tuple[PopulationState, Generation]:
        if state.inner is None:
            return self._start()
        if self.is_release_due(state):
            state = self._release(state)
        optimizer = self._optimizer(state)
        asking, points = optimizer.ask(state.inner)
        returns = self.objective(self._decode(state, points), episode_seeds(self.seed, state.generation, self.episodes))
        inner = optimizer.tell(asking, points, torch.from_numpy(returns.mean))
        following = state._replace(generation=state.generation + 1, inner=inner, steps=state.steps + returns.steps)
        return following, Generation(
            returns.steps, returns.mean, optimizer.sigma(inner), returns.each.size, returns.is_lost
        )

    def _start(self) -> tuple[PopulationState, Generation]:
        given = self.given
        points = self.space.draw(self.starts, seed_of(self.seed, 0)) if given is None else given[: self.starts]
        decoded = self.space.decode(points)
        shifts = None if self.anchor is None else self.anchor(points)
        returns = self.try_starts(decoded if shifts is None else decoded + shifts)
        best = torch.from_numpy(returns.mean).nan_to_num(nan=-torch.inf).argmax()
        inner = self.optimizer.begin(points[best], seed_of(self.seed, 1))
        shift = None if shifts is None else shifts[best].clone()
        generation = Generation(
            returns.steps, returns.mean, self.optimizer.sigma(inner), returns.each.size, returns.is_lost
        )
        return PopulationState(1, inner, returns.steps, shift=shift), generation

    def _release(self, state: PopulationState) -> PopulationState:
        """Turn the incumbent into weights; the optimizer begins again around them."""
        assert self.weights.encode is not None
        center = self.weights.encode(self._decode(state, self.optimizer.incumbent(state.inner)[None]))[0]
        state = state._replace(released=True, shift=None)
        return state._replace(inner=self._optimizer(state).begin(center, seed_of(self.seed, 2)))

    def _optimizer(self, state: PopulationState) -> Optimizer:
        return self.optimizer if self.released is None or not state.released else self.released

    def _decode(self, state: PopulationState, points: Tensor) -> Tensor:
        if state.released:
            return self.weights.decode(points)
        decoded = self.space.decode(points)
        return decoded if state.shift is None else decoded + state.shift

    @torch.no_grad()
    def incumbent(self, state: PopulationState) -> SavedPolicy:
        if state.inner is None:  # before the starts are tried: the first of them
            point = (self.space.draw(1, seed_of(self.seed, 0)) if self.given is None else self.given)[0]
            if self.anchor is not None:
                state = state._replace(shift=self.anchor(point[None])[0])
        else:
            point = self._optimizer(state).incumbent(state.inner)
        return SavedPolicy.of(self.objective.problem.network, self._decode(state, point[None])[0])
