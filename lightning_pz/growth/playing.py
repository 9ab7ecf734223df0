"""Plays policies of a generation, all of them or any part: what comes of a policy does not depend on which others are played."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from lightning_pz.envs.episodes import TaskReturns, play_episodes
from lightning_pz.envs.forward import BatchForward
from lightning_pz.envs.simulators import Simulator, make_simulator
from lightning_pz.envs.specs import EnvSpec
from lightning_pz.envs.tasks import TaskFunction
from lightning_pz.growth.archive import Archive, join
from lightning_pz.growth.outcomes import OutcomeObserver, make_embedding
from lightning_pz.policy import PolicyNetwork
from lightning_pz.pool.grown_recipe import GrownRecipe

ORIGINS = ("prior", "weights", "latent")
"""How a policy was found, by the number that an archive keeps."""
_CHUNK = 256
"""Episodes played side by side. The kept states of so many policies are drawn together, so it is part of every result."""


@dataclass(frozen=True)
class Place:
    """Where some policies, one after another, stand in a growth."""

    generation: int  # over the whole growth, for episode seeds
    first: int  # number of the first of them in its generation
    whole: int  # policies of the generation
    numbers: int  # policies played before the generation
    origin: int  # number in `ORIGINS`
    round: int


class GenerationPlayer:
    """Plays one episode with each policy of a part of a generation; holds nothing that changes but a simulator.

    Returns in `tasks` are recorded for the report alone; `on_steps` is called with environment steps as they are taken.
    """

    def __init__(
        self,
        spec: EnvSpec,
        network: PolicyNetwork,
        recipe: GrownRecipe,
        tasks: Mapping[str, TaskFunction],
        threads: int,
        on_steps: Callable[[int], object] = lambda steps: None,
    ) -> None:
        self.spec, self.network, self.recipe, self.tasks = spec, network, recipe, tasks
        self.threads, self.on_steps = threads, on_steps
        sizes = (spec.observation_size, sum(spec.choices) or spec.action_size, recipe.features)
        self.embedding = make_embedding(recipe.outcome, *sizes, recipe.seed)
        self._simulator: Simulator | None = None

    def play(
        self, params: Float[Tensor, "policies params"], place: Place, directions: np.ndarray | int
    ) -> tuple[Archive, int]:
        """Play the policies at a place; return those that stayed finite, and the steps taken.

        `directions` are the rows of functionals along which they were found, (n,), or -1.
        """
        end, start, parts, steps = place.first + len(params), place.first, [], 0
        along = np.full(len(params), directions, dtype=np.int32)
        while start < end:
            chunk = start // _CHUNK * _CHUNK
            stop = min(chunk + _CHUNK, end)
            rows = slice(start - place.first, stop - place.first)
            found, taken = self._play(params[rows], place, start, along[rows])
            parts.append(found)
            start, steps = stop, steps + taken
        return join(parts), steps

    def _play(self, params: Tensor, place: Place, start: int, along: np.ndarray) -> tuple[Archive, int]:
        """Play policies of one chunk, of which the first is number `start` in its generation."""
        recipe, count, first = self.recipe, len(params), start // _CHUNK * _CHUNK
        horizon = recipe.episode_steps(self.spec.horizon)
        observer = OutcomeObserver(
            self.embedding, self.network, count, horizon, recipe.own_states, [recipe.own_seed, place.generation, first],
            among=min(_CHUNK, place.whole - first), offset=start - first,
        )  # fmt: skip
        # For the report alone: rewards have no way back into the growth.
        ledger = TaskReturns(self.tasks, count, decisive=False)
        seeds = [recipe.episode_seed(place.generation)] * count
        act, simulator = BatchForward(self.network, params, seeds=seeds), self._slots(count)
        ends = play_episodes(act, simulator, seeds, horizon, [observer, ledger])
        self.on_steps(ends.steps)
        outcomes = observer.outcomes()
        archive = Archive(
            numbers=place.numbers + start + np.arange(count),
            params=params.float().numpy(),
            outcomes=outcomes,
            visited=observer.visited(),
            origins=np.full(count, place.origin, dtype=np.int8),
            directions=along,
            rounds=np.full(count, place.round, dtype=np.int32),
            lengths=ends.lengths,
            returns=np.ascontiguousarray(ledger.totals.T),
        )
        return archive.take(np.flatnonzero(ends.valid & np.isfinite(outcomes).all(1))), ends.steps

    def _slots(self, count: int) -> Simulator:
        if self._simulator is None or self._simulator.size < count:
            self._simulator = make_simulator(self.spec, count, self.threads)
        return self._simulator
