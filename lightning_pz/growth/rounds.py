"""Takes the rounds of a growth: choose directions, have them climbed, keep what went somewhere new.

Choosing and keeping happen in this process; what is played is cut into pieces, which any executor may run, once a round.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from lightning_pz.common.errors import UserError
from lightning_pz.common.executors import run_pieces
from lightning_pz.envs.specs import EnvSpec
from lightning_pz.envs.tasks import TaskFunction
from lightning_pz.growth.archive import Archive, join, thin_out
from lightning_pz.growth.climb_pieces import (
    ClimbPiece,
    FirstPiece,
    FoundRows,
    GrowthPiece,
    GrowthScene,
    play_alone,
    play_piece,
)
from lightning_pz.growth.directions import THINNESS, covering_directions, random_directions
from lightning_pz.growth.latent_space import TrainedLatents, train_latents
from lightning_pz.growth.outcomes import fit_whitening
from lightning_pz.growth.playing import GenerationPlayer
from lightning_pz.growth.variation import Parents
from lightning_pz.policy import PolicyNetwork
from lightning_pz.pool.grown_recipe import GrownRecipe
from lightning_pz.pool.states import StateSample
from lightning_pz.search.spaces import SearchSpace, parameter_space


def put_together(parts: Sequence[FoundRows]) -> FoundRows:
    """Return what pieces found as one, in the order in which a single piece would have played it."""
    if len(parts) == 1:  # rows of large policies are gigabytes
        return parts[0]
    whole = join([found for found, _ in parts])
    return whole.take(np.argsort(whole.numbers)), sum(steps for _, steps in parts)


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
    called with environment steps as they are taken. What is played is cut into so many groups, which an executor runs side
    by side, where tasks are found by name; results do not depend on either.
    """

    def __init__(
        self,
        spec: EnvSpec,
        network: PolicyNetwork,
        recipe: GrownRecipe,
        sample: StateSample,
        tasks: Mapping[str, TaskFunction],
        on_steps: Callable[[int], object] = lambda steps: None,
        executor: Executor | None = None,
        groups: int = 1,
    ) -> None:
        self.spec, self.network, self.recipe, self.sample = spec, network, recipe, sample
        self.scene = GrowthScene(spec, network, recipe, tuple(tasks))
        self.player = GenerationPlayer(spec, network, recipe, tasks, recipe.cores, on_steps)
        self.embedding, self.on_steps, self.executor, self.groups = self.player.embedding, on_steps, executor, groups
        self._weights = parameter_space(recipe.prior, network.layout)

    def begin(self) -> Growth:
        """Play random draws of the prior; `UserError` if none stays finite, or their outcomes are all the same."""
        groups = self._groups(self.recipe.first)
        archive, steps = self._gather([FirstPiece(self.scene, own.start, own.stop) for own in groups])
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
        pieces = self.cut(growth)
        return self.keep(growth, pieces, *self._gather(pieces))

    def cut(self, growth: Growth) -> list[ClimbPiece]:
        """Choose the directions of the next round and where it begins; return its groups of directions as pieces."""
        r, archive, number = self.recipe, growth.archive, growth.rounds + 1
        whitening = fit_whitening(archive.outcomes, self.embedding.scales)
        white = whitening(archive.outcomes)
        directions = self._choose(white, number)
        functionals = directions @ whitening.matrix
        starts = torch.from_numpy(archive.params[np.argmax(white @ directions.T, axis=0)])
        # The last rounds begin in latent space, if the following ones cost as much as they may.
        left = (r.steps - growth.steps) // r.round_cost(self.spec.horizon)
        until = round(r.latent_share * r.generations) if left <= r.latent_rounds else 0
        latents = self._train_latents(archive, number) if until else None
        space = self._weights if latents is None else latents.space()
        assert space.encode is not None
        points, seeds = space.encode(starts).numpy(), (self._seeds(number, 0), self._seeds(number, 1))
        shipped = None if latents is None else dataclasses.replace(latents, encode=None)
        along = len(growth.functionals) if self._climbing else None
        pieces = [
            ClimbPiece(
                self.scene, number, growth.generation, growth.played, own.start, along, functionals[own], whitening.mean,
                points[own], (seeds[0][own], seeds[1][own]), shipped, until,
            )
            for own in self._groups(r.directions)
        ]  # fmt: skip
        if self._climbing:
            return pieces
        return [dataclasses.replace(p, parents=self._parents(space, archive, p.seeds, until)) for p in pieces]

    def keep(self, growth: Growth, pieces: Sequence[ClimbPiece], found: Archive, steps: int) -> Growth:
        """Return the growth after a round that found these policies in so many steps, thinned out."""
        r, number = self.recipe, growth.rounds + 1
        played = r.directions * r.population * r.generations
        self._check_finite(len(found), played, f"round {number}'s")
        joined = join([growth.archive, found])
        white = fit_whitening(joined.outcomes, self.embedding.scales)(joined.outcomes)
        kept = joined.take(thin_out(white, r.size, threads=r.cores))
        functionals = [growth.functionals, *(piece.functionals for piece in pieces if self._climbing)]
        counts = (number, growth.steps + steps, growth.played + played, growth.generation + r.generations)
        invalid = growth.invalid + played - len(found)
        return Growth(kept, np.concatenate(functionals), growth.first, *counts, invalid)

    @property
    def _climbing(self) -> bool:
        """Whether the emitter goes along directions; variation goes along none."""
        return self.recipe.emitter != "iso_line"

    def _parents(
        self, space: SearchSpace, archive: Archive, seeds: tuple[list[int], list[int]], until: int
    ) -> dict[str, Parents]:
        """Return the points that the variations of some directions draw, by the origin of their children."""
        r, params = self.recipe, torch.from_numpy(archive.params)
        assert space.encode is not None and self._weights.encode is not None
        if not until:
            return {"weights": Parents.of_climbs(space.encode(params), r.population, seeds[0], r.generations)}
        generations = r.generations - until
        return {
            "latent": Parents.of_climbs(space.encode(params), r.population, seeds[0], until),
            "weights": Parents.of_climbs(self._weights.encode(params), r.population, seeds[1], generations),
        }

    def _groups(self, count: int) -> list[slice]:
        """Cut 0, 1, 2, ... into groups of about equal size."""
        ends = np.linspace(0, count, min(self.groups, count) + 1).round().astype(int).tolist()
        return [slice(start, stop) for start, stop in itertools.pairwise(ends)]

    def _gather(self, pieces: Sequence[GrowthPiece]) -> FoundRows:
        """Have pieces played, and return what they found."""
        parts: list[FoundRows] = []
        play = play_piece if self.executor is not None else lambda piece: play_alone(piece, self.player)
        for _, outcome in run_pieces(self.executor, play, pieces):
            parts.append(outcome.get())
            if self.executor is not None:
                self.on_steps(parts[-1][1])
        return put_together(parts)

    def _check_finite(self, found: int, played: int, whose: str) -> None:
        if not found:
            raise UserError(
                f"not one of {whose} {played} policies stayed finite on {self.spec.id}: in every episode an observation or "
                "an action was NaN or infinite. Find what makes the environment overflow, or lower --sigma or --prior.gain"
            )

    def _choose(self, white: Float[np.ndarray, "policies white"], number: int) -> np.ndarray:
        generator = np.random.default_rng(np.random.SeedSequence(self.recipe.seed, spawn_key=(4, number)))
        if self.recipe.choice == "random":
            return random_directions(self.recipe.directions, white.shape[1], generator)
        return covering_directions(white, self.recipe.directions, generator, THINNESS[self.recipe.choice])

    def _train_latents(self, archive: Archive, number: int) -> TrainedLatents:
        r = self.recipe
        states = self.network.standardize(self.sample.states)
        generator = np.random.default_rng(np.random.SeedSequence(r.seed, spawn_key=(6, number)))
        seen = archive.visited.reshape(-1, self.spec.observation_size)
        # Half of the states are those that the pool visits, as in the sample of the finished pool.
        wanted = round(r.visited * r.states.train)
        visited = self.network.standardize(torch.from_numpy(seen[generator.integers(len(seen), size=wanted)]))
        probe, train = (states[r.states.slices()[name]] for name in ("probe", "train"))
        return train_latents(
            self.network.layout, r.prior, torch.from_numpy(archive.params), probe,
            torch.cat([train[wanted:], visited]), r.latent_dim, r.latent_steps, self._seeds(number, 2)[0],
        )  # fmt: skip

    def _seeds(self, number: int, purpose: int) -> list[int]:
        sequence = np.random.SeedSequence(self.recipe.seed, spawn_key=(5, number, purpose))
        return [int(word >> np.uint64(1)) for word in sequence.generate_state(self.recipe.directions, np.uint64)]
