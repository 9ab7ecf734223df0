"""An optimizer on a search space: one generation asks, decodes, plays, and tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_pz.policy.saved import SavedPolicy
from lightning_pz.search.objective import Objective, episode_seeds, seed_of
from lightning_pz.search.optimizers.center_steps import Adam, ClipUp
from lightning_pz.search.optimizers.cmaes import CmaesState
from lightning_pz.search.optimizers.pgpe import PgpeState
from lightning_pz.search.optimizers.protocol import Generation, Optimizer
from lightning_pz.search.optimizers.random_latent import RandomState
from lightning_pz.search.spaces import SearchSpace


class PopulationState(NamedTuple):
    """Where a search by population stands.

    Attributes:
        generation: Generations so far, the trial of the starts included.
        inner: The optimizer's state; None before the starts were tried.
        steps: Environment steps so far.
        released: Whether the points are weights, the decoder having been left behind.
        shift: What is added to decoded weights, (P,), so that the start is decoded to the very policy that was given;
            None for nothing.
    """

    generation: int
    inner: Any
    steps: int = 0
    released: bool = False
    shift: Tensor | None = None


class PopulationSearch:
    """An optimizer behind `lightning_pz.search.optimizers.protocol.Search`.

    The first generation tries some starts, drawn or given, and the optimizer begins at the best of them; or it begins
    at a point that is given. Where a release is given, it goes on in weights from the decoded incumbent once that many steps
    have been taken.

    Args:
        optimizer: What asks and is told.
        space: Where it searches.
        objective: Returns of policies.
        seed: Of the search and its episodes.
        episodes: Episodes per member.
        starts: Starts to try; 0 to begin at the first of `given`, or in the middle.
        start_episodes: Episodes per start.
        given: Points to begin at, or to try, in the place of draws, (n, d), n at least `starts`.
        anchor: From given points, (n, d), to what is added to weights decoded around each, (n, P); nothing if None.
        weights: The parameter space, for going on without the decoder.
        release_at: Environment steps after which the decoder is left behind; never if None.
        released: What asks and is told from then on, its lengths in units of the parameter space; `optimizer` if None.
    """

    resumable = True
    state_types: tuple[type, ...] = (PopulationState, PgpeState, ClipUp, Adam, CmaesState, RandomState)

    def __init__(
        self,
        optimizer: Optimizer,
        space: SearchSpace,
        objective: Objective,
        *,
        seed: int,
        episodes: int,
        starts: int,
        start_episodes: int,
        given: Float[Tensor, "points size"] | None = None,
        anchor: Callable[[Tensor], Tensor] | None = None,
        weights: SearchSpace | None = None,
        release_at: int | None = None,
        released: Optimizer | None = None,
    ) -> None:
        self.optimizer, self.space, self.objective = optimizer, space, objective
        self.seed, self.episodes, self.starts, self.start_episodes = seed, episodes, starts, start_episodes
        self.given, self.anchor, self.weights, self.release_at = given, anchor, weights, release_at
        self.released = optimizer if released is None else released

    def begin(self) -> PopulationState:
        """Return the first state; see `Search.begin`."""
        if self.starts:
            return PopulationState(0, None)
        start = torch.zeros(self.space.size, dtype=torch.double) if self.given is None else self.given[0]
        shift = None if self.anchor is None else self.anchor(start[None])[0]
        return PopulationState(0, self.optimizer.begin(start, seed_of(self.seed, 1)), shift=shift)

    @property
    def least_budget(self) -> int:
        """Steps that the starts and one generation may take; see `Search.least_budget`."""
        return self._start_cost + self._generation_cost

    def cost(self, state: PopulationState) -> int:
        """Return the most steps of the next generation; see `Search.cost`."""
        return self._start_cost if state.inner is None else self._generation_cost

    @property
    def _start_cost(self) -> int:
        return self.starts * self.start_episodes * self.objective.problem.spec.horizon

    @property
    def _generation_cost(self) -> int:
        return self.optimizer.population * self.episodes * self.objective.problem.spec.horizon

    @torch.no_grad()
    def step(self, state: PopulationState) -> tuple[PopulationState, Generation]:
        """Take one generation; see `Search.step`."""
        if state.inner is None:
            return self._start(state)
        if self.release_at is not None and state.steps >= self.release_at and not state.released:
            state = self._release(state)
        optimizer = self._optimizer(state)
        asking, points = optimizer.ask(state.inner)
        seeds = episode_seeds(self.seed, state.generation, self.episodes)
        returns = self.objective(self._decode(state, points), seeds)
        told = optimizer.tell(asking, points, torch.from_numpy(returns.mean))
        done = Generation(returns.steps, returns.mean, optimizer.sigma(told), returns.is_lost)
        after = state._replace(generation=state.generation + 1, inner=told, steps=state.steps + returns.steps)
        return after, done

    def _start(self, state: PopulationState) -> tuple[PopulationState, Generation]:
        points = (
            self.space.draw(self.starts, seed_of(self.seed, 0)) if self.given is None else self.given[: self.starts]
        )
        decoded = self.space.decode(points)
        shifts = None if self.anchor is None else self.anchor(points)
        returns = self.objective(
            decoded if shifts is None else decoded + shifts,
            episode_seeds(self.seed, state.generation, self.start_episodes),
        )
        best = torch.from_numpy(returns.mean).nan_to_num(nan=-torch.inf).argmax()
        inner = self.optimizer.begin(points[best], seed_of(self.seed, 1))
        done = Generation(returns.steps, returns.mean, self.optimizer.sigma(inner), returns.is_lost)
        shift = None if shifts is None else shifts[best].clone()
        return PopulationState(state.generation + 1, inner, returns.steps, shift=shift), done

    def _release(self, state: PopulationState) -> PopulationState:
        """Turn the incumbent into weights; the optimizer begins afresh around them."""
        assert self.weights is not None and self.weights.encode is not None
        center = self.weights.encode(self._decode(state, self.optimizer.incumbent(state.inner)[None]))[0]
        return state._replace(inner=self.released.begin(center, seed_of(self.seed, 2)), released=True, shift=None)

    def _optimizer(self, state: PopulationState) -> Optimizer:
        return self.released if state.released else self.optimizer

    def _decode(self, state: PopulationState, points: Tensor) -> Tensor:
        if state.released:
            assert self.weights is not None
            return self.weights.decode(points)
        decoded = self.space.decode(points)
        return decoded if state.shift is None else decoded + state.shift

    @torch.no_grad()
    def incumbent(self, state: PopulationState) -> SavedPolicy:
        """Return the decoded incumbent of the optimizer; see `Search.incumbent`."""
        point = self._optimizer(state).incumbent(state.inner)
        return SavedPolicy.of(self.objective.problem.network, self._decode(state, point[None])[0])
