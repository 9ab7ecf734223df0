"""Takes the rounds of a growth: choose directions, climb them all at once, keep what went somewhere new."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_pz.common.errors import UserError
from lightning_pz.envs.episodes import TaskReturns, play_episodes
from lightning_pz.envs.forward import BatchForward
from lightning_pz.envs.simulators import Simulator, make_simulator
from lightning_pz.envs.specs import EnvSpec
from lightning_pz.envs.tasks import TaskFunction
from lightning_pz.growth import emitters
from lightning_pz.growth.archive import Archive, join, thin_out
from lightning_pz.growth.directions import THINNESS, covering_directions, random_directions
from lightning_pz.growth.latent_space import train_latent_space
from lightning_pz.growth.outcomes import OutcomeObserver, fit_whitening, make_embedding
from lightning_pz.growth.variation import IsoLineVariation
from lightning_pz.policy import PolicyNetwork, draw_params
from lightning_pz.pool.grown_recipe import GrownRecipe
from lightning_pz.pool.states import StateSample
from lightning_pz.search.algorithm_settings import CmaesSettings, PgpeSettings
from lightning_pz.search.optimizers.cmaes import Cmaes
from lightning_pz.search.optimizers.pgpe import Pgpe
from lightning_pz.search.optimizers.protocol import Optimizer
from lightning_pz.search.spaces import SearchSpace, parameter_space

ORIGINS = ("prior", "weights", "latent")
"""How a policy was found, by the number that an archive keeps."""
_CHUNK = 256


@dataclass(frozen=True)
class Growth:
    """Where a growth stands between two rounds; plain arrays and numbers of what there was so far."""

    archive: Archive
    functionals: np.ndarray  # for each direction climbed, the vector whose inner product with raw outcomes grew, (K, D)
    first: (
        np.ndarray
    )  # outcomes of the first policies, (n, D), whose whitening is the frame in which coverage is measured
    rounds: int  # the first policies are round 0
    steps: int  # environment steps
    played: int  # policies
    generation: int  # for episode seeds
    invalid: int  # policies that turned non-finite


class Grower:
    """Plays and searches; holds nothing that changes but a simulator.

    Latent rounds compare behavior on the state sample; returns in `tasks` are recorded for the report alone; `on_steps` is
    called with environment steps as they are taken.
    """

    def __init__(
        self,
        spec: EnvSpec,
        network: PolicyNetwork,
        recipe: GrownRecipe,
        sample: StateSample,
        tasks: Mapping[str, TaskFunction],
        on_steps: Callable[[int], object] = lambda steps: None,
    ) -> None:
        self.spec, self.network, self.recipe, self.sample = spec, network, recipe, sample
        self.tasks, self.on_steps = tasks, on_steps
        self.horizon = recipe.episode_steps(spec.horizon)
        sizes = (spec.observation_size, spec.action_size, recipe.features)
        self.embedding = make_embedding(recipe.outcome, *sizes, recipe.seed)
        self._simulator: Simulator | None = None
        self._weights = parameter_space(recipe.prior, network.layout)

    def begin(self) -> Growth:
        """Play random draws of the prior; `UserError` if none stays finite, or their outcomes are all the same."""
        params = draw_params(self.recipe.prior, self.network.layout, self.recipe.seed, range(self.recipe.first))
        archive, steps = self._play(params, generation=0, numbers=0, origin=0, directions=-1, round_number=0)
        self._check_finite(len(archive), self.recipe.first, "the first")
        fit_whitening(archive.outcomes, self.embedding.scales, f"the outcomes on {self.spec.id}")
        empty = np.empty((0, archive.outcomes.shape[1]))
        invalid = self.recipe.first - len(archive)
        return Growth(archive, empty, archive.outcomes.copy(), 0, steps, self.recipe.first, 1, invalid)

    def can_afford_round(self, growth: Growth) -> bool:
        """Whether another round is sure to stay within the budget."""
        return growth.steps + self.recipe.round_cost(self.spec.horizon) <= self.recipe.steps

    def round(self, growth: Growth) -> Growth:
        """Take one round, a pure function of the growth so far; `UserError` if none of its policies stayed finite."""
        r, archive = self.recipe, growth.archive
        number = growth.rounds + 1
        whitening = fit_whitening(archive.outcomes, self.embedding.scales)
        white = whitening(archive.outcomes)
        directions = self._choose(white, number)
        # Variation goes along no direction.
        climbed = directions[:0] if r.emitter == "iso_line" else directions
        starts = torch.from_numpy(archive.params[np.argmax(white @ directions.T, axis=0)])
        # The last rounds begin in latent space, if the following ones cost as much as they may.
        left = (r.steps - growth.steps) // r.round_cost(self.spec.horizon)
        until = round(r.latent_share * r.generations) if left <= r.latent_rounds else 0
        space = self._latent_space(archive, number) if until else self._weights
        assert space.encode is not None
        climbing = emitters.begin(self._optimizer(space, archive), space, space.encode(starts), self._seeds(number, 0))
        parts, steps, played = [archive], growth.steps, growth.played
        for generation in range(r.generations):
            if until and generation == until:
                optimizer = self._optimizer(self._weights, archive)
                climbing = emitters.release(climbing, optimizer, self._weights, self._seeds(number, 1))
            climbing, points, params, which = emitters.ask(climbing)
            along = len(growth.functionals) + which if len(climbed) else -1
            origin = ORIGINS.index("latent" if generation < until else "weights")
            found, taken = self._play(params, growth.generation + generation, played, origin, along, number)
            fitness = np.full(len(params), np.nan)
            rows = found.numbers - played
            fitness[rows] = (whitening(found.outcomes) * directions[which[rows]]).sum(1)
            climbing = emitters.tell(climbing, points, fitness, which)
            parts.append(found)
            steps, played = steps + taken, played + len(params)
        new = sum(len(part) for part in parts[1:])
        self._check_finite(new, played - growth.played, f"round {number}'s")
        joined = join(parts)
        white = fit_whitening(joined.outcomes, self.embedding.scales)(joined.outcomes)
        kept, functionals = joined.take(thin_out(white, r.size)), [growth.functionals, climbed @ whitening.matrix]
        invalid = growth.invalid + played - growth.played - new
        counts = (number, steps, played, growth.generation + r.generations, invalid)
        return Growth(kept, np.concatenate(functionals), growth.first, *counts)

    def _check_finite(self, found: int, played: int, whose: str) -> None:
        if not found:
            raise UserError(
                f"not one of {whose} {played} policies stayed finite on {self.spec.id}: in every episode an observation or "
                "an action was NaN or infinite. Find what makes the environment overflow, or lower --sigma or --prior.gain"
            )

    def _optimizer(self, space: SearchSpace, archive: Archive) -> Optimizer:
        r = self.recipe
        if r.emitter == "iso_line":
            assert space.encode is not None
            return IsoLineVariation(space.encode(torch.from_numpy(archive.params)), r.population, r.sigma)
        if r.emitter == "cmaes":
            return Cmaes(CmaesSettings(population=r.population, sigma=r.sigma), space.size, diagonal=True)
        return Pgpe(PgpeSettings(population=r.population, sigma=r.sigma))

    def _choose(self, white: Float[np.ndarray, "policies white"], number: int) -> np.ndarray:
        generator = np.random.default_rng(np.random.SeedSequence(self.recipe.seed, spawn_key=(4, number)))
        if self.recipe.choice == "random":
            return random_directions(self.recipe.directions, white.shape[1], generator)
        return covering_directions(white, self.recipe.directions, generator, THINNESS[self.recipe.choice])

    def _latent_space(self, archive: Archive, number: int) -> SearchSpace:
        r = self.recipe
        states = self.network.standardize(self.sample.states)
        generator = np.random.default_rng(np.random.SeedSequence(r.seed, spawn_key=(6, number)))
        seen = archive.visited.reshape(-1, self.spec.observation_size)
        # Half of the states are those that the pool visits, as in the sample of the finished pool.
        wanted = round(r.visited * r.states.train)
        visited = self.network.standardize(torch.from_numpy(seen[generator.integers(len(seen), size=wanted)]))
        probe, train = (states[r.states.slices()[name]] for name in ("probe", "train"))
        return train_latent_space(
            self.network.layout, r.prior, torch.from_numpy(archive.params), probe,
            torch.cat([train[wanted:], visited]), r.latent_dim, r.latent_steps, self._seeds(number, 2)[0],
        )  # fmt: skip

    def _seeds(self, number: int, purpose: int) -> list[int]:
        sequence = np.random.SeedSequence(self.recipe.seed, spawn_key=(5, number, purpose))
        return [int(word >> np.uint64(1)) for word in sequence.generate_state(self.recipe.directions, np.uint64)]

    def _play(
        self,
        params: Tensor,
        generation: int,
        numbers: int,
        origin: int,
        directions: np.ndarray | int,
        round_number: int,
    ) -> tuple[Archive, int]:
        """Play one episode with each policy, (n, P); return those that stayed finite, and the steps taken."""
        own, seed = self.recipe.own_seed, self.recipe.episode_seed(generation)
        parts, steps = [], 0
        for first in range(0, len(params), _CHUNK):
            chunk = params[first : first + _CHUNK]
            count, keep, choice = len(chunk), self.recipe.own_states, [own, generation, first]
            observer = OutcomeObserver(self.embedding, self.network, count, self.horizon, keep, choice)
            # For the report alone: rewards have no way back into the growth.
            ledger = TaskReturns(self.tasks, count, decisive=False)
            act, simulator, seeds = BatchForward(self.network, chunk), self._slots(count), [seed] * count
            ends = play_episodes(act, simulator, seeds, self.horizon, [observer, ledger])
            steps += ends.steps
            self.on_steps(ends.steps)
            outcomes = observer.outcomes()
            whole = ends.valid & np.isfinite(outcomes).all(1)
            archive = Archive(
                numbers=numbers + first + np.arange(count),
                params=chunk.float().numpy(),
                outcomes=outcomes,
                visited=observer.visited(),
                origins=np.full(count, origin, dtype=np.int8),
                directions=np.full(len(params), directions, dtype=np.int32)[first : first + _CHUNK],
                rounds=np.full(count, round_number, dtype=np.int32),
                lengths=ends.lengths,
                returns=np.ascontiguousarray(ledger.totals.T),
            )
            parts.append(archive.take(np.flatnonzero(whole)))
        return join(parts), steps

    def _slots(self, count: int) -> Simulator:
        if self._simulator is None or self._simulator.size < count:
            self._simulator = make_simulator(self.spec, count, self.recipe.threads)
        return self._simulator
