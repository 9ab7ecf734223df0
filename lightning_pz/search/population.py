"""An optimizer on a search space: one generation asks, decodes, plays, and tells."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from lightning_pz.policy.saved import SavedPolicy
from lightning_pz.search.clipup import Adam, ClipUp
from lightning_pz.search.cmaes import CmaesState
from lightning_pz.search.objective import Objective, episode_seeds, seed_of
from lightning_pz.search.pgpe import PgpeState
from lightning_pz.search.protocol import Generation, Optimizer
from lightning_pz.search.random_latent import RandomState
from lightning_pz.search.spaces import SearchSpace


class PopulationState(NamedTuple):
    """Where a search by population stands.

    Attributes:
        generation: Generations so far, the trial of the starts included.
        inner: The optimizer's state; None before the starts were tried.
    """

    generation: int
    inner: Any


class PopulationSearch:
    """An optimizer behind `lightning_pz.search.protocol.Search`.

    The first generation tries some starts, and the optimizer begins at the best of them.

    Args:
        optimizer: What asks and is told.
        space: Where it searches.
        objective: Returns of policies.
        seed: Of the search and its episodes.
        episodes: Episodes per member.
        starts: Starts to try; 0 to begin in the middle.
        start_episodes: Episodes per start.
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
    ) -> None:
        self.optimizer, self.space, self.objective = optimizer, space, objective
        self.seed, self.episodes, self.starts, self.start_episodes = seed, episodes, starts, start_episodes

    def begin(self) -> PopulationState:
        """Return the first state; see `Search.begin`."""
        if self.starts:
            return PopulationState(0, None)
        middle = torch.zeros(self.space.size, dtype=torch.double)
        return PopulationState(0, self.optimizer.begin(middle, seed_of(self.seed, 1)))

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
        asking, points = self.optimizer.ask(state.inner)
        seeds = episode_seeds(self.seed, state.generation, self.episodes)
        returns = self.objective(self.space.decode(points), seeds)
        told = self.optimizer.tell(asking, points, torch.from_numpy(returns.mean))
        done = Generation(returns.steps, returns.mean, self.optimizer.sigma(told))
        return PopulationState(state.generation + 1, told), done

    def _start(self, state: PopulationState) -> tuple[PopulationState, Generation]:
        points = self.space.draw(self.starts, seed_of(self.seed, 0))
        returns = self.objective(
            self.space.decode(points), episode_seeds(self.seed, state.generation, self.start_episodes)
        )
        best = torch.from_numpy(returns.mean).nan_to_num(nan=-torch.inf).argmax()
        inner = self.optimizer.begin(points[best], seed_of(self.seed, 1))
        done = Generation(returns.steps, returns.mean, self.optimizer.sigma(inner))
        return PopulationState(state.generation + 1, inner), done

    @torch.no_grad()
    def incumbent(self, state: PopulationState) -> SavedPolicy:
        """Return the decoded incumbent of the optimizer; see `Search.incumbent`."""
        point = self.optimizer.incumbent(state.inner)
        return SavedPolicy.of(self.objective.problem.network, self.space.decode(point[None])[0])
