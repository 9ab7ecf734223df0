"""The pieces of a growth that any worker can play: some of the first policies, or the climbs of a round along some directions.

A piece is plain data, and its result a pure function of it: no draw and no sum depends on what other pieces there are.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float

from lightning_pz.common.errors import UserError
from lightning_pz.common.identity import first_difference
from lightning_pz.common.threads import one_thread
from lightning_pz.envs.forward import one_blas_thread
from lightning_pz.envs.specs import EnvSpec, env_spec
from lightning_pz.envs.tasks import find_tasks
from lightning_pz.growth import emitters
from lightning_pz.growth.archive import Archive, join
from lightning_pz.growth.latent_space import TrainedLatents
from lightning_pz.growth.playing import ORIGINS, GenerationPlayer, Place
from lightning_pz.growth.variation import IsoLineVariation, Parents
from lightning_pz.policy import PolicyNetwork, draw_params
from lightning_pz.pool.grown_recipe import GrownRecipe
from lightning_pz.search.algorithm_settings import CmaesSettings, PgpeSettings
from lightning_pz.search.optimizers.cmaes import Cmaes
from lightning_pz.search.optimizers.pgpe import Pgpe
from lightning_pz.search.optimizers.protocol import Optimizer
from lightning_pz.search.spaces import SearchSpace, parameter_space

FoundRows = tuple[Archive, int]
"""Policies that stayed finite, and the environment steps that all took."""


@dataclass(frozen=True)
class GrowthScene:
    """What all pieces of a growth share."""

    spec: EnvSpec
    network: PolicyNetwork
    recipe: GrownRecipe
    tasks: tuple[str, ...]  # whose returns are recorded for the report


@runtime_checkable
class GrowthPiece(Protocol):
    """A part of a growth, played by whoever has a player."""

    @property
    def scene(self) -> GrowthScene: ...

    def play(self, player: GenerationPlayer) -> FoundRows: ...


@dataclass(frozen=True)
class FirstPiece:
    """Some of the first policies, drawn from the prior: those with numbers from `first` to before `stop`."""

    scene: GrowthScene
    first: int
    stop: int

    def play(self, player: GenerationPlayer) -> FoundRows:
        """Draw and play them."""
        recipe = self.scene.recipe
        params = draw_params(recipe.prior, self.scene.network.layout, recipe.seed, range(self.first, self.stop))
        place = Place(0, self.first, recipe.first, numbers=0, origin=ORIGINS.index("prior"), round=0)
        return player.play(params, place, -1)


@dataclass(frozen=True)
class ClimbPiece:
    """All generations of a round along some of its directions, one after another."""

    scene: GrowthScene
    round: int
    generation: int  # generations before the round, over the whole growth
    played: int  # policies played before the round
    first: int  # number of the first of these directions in the round
    along: int | None  # functionals before the round's; None where nothing is climbed
    functionals: Float[np.ndarray, "directions outcome"]
    mean: Float[np.ndarray, " outcome"]  # of the outcomes so far
    starts: Float[np.ndarray, "directions size"]  # points of the space in which the round begins
    seeds: tuple[list[int], list[int]]  # of the search from the start, and of the one after the decoder's release
    latents: TrainedLatents | None = None  # where the round begins in latent space
    until: int = 0  # generations in latent space
    parents: Mapping[str, Parents] | None = None  # by origin, where pairs of them are varied

    def play(self, player: GenerationPlayer) -> FoundRows:
        """Climb; outcomes along each direction steer its own climb, and nothing else does."""
        recipe = self.scene.recipe
        weights = parameter_space(recipe.prior, self.scene.network.layout)
        space = weights if self.latents is None else self.latents.space()
        optimizer = self._optimizer(space, "weights" if self.latents is None else "latent")
        climbing = emitters.begin(optimizer, space, torch.from_numpy(self.starts), self.seeds[0])
        parts, steps, whole = [], 0, recipe.directions * recipe.population
        for number in range(recipe.generations):
            if self.until and number == self.until:
                climbing = emitters.release(climbing, self._optimizer(weights, "weights"), weights, self.seeds[1])
            climbing, points, params, which = emitters.ask(climbing)
            first, before = self.first * recipe.population, self.played + number * whole
            origin = ORIGINS.index("latent" if number < self.until else "weights")
            place = Place(self.generation + number, first, whole, before, origin, self.round)
            along = -1 if self.along is None else self.along + self.first + which
            found, taken = player.play(params, place, along)
            rows = found.numbers - before - first
            fitness = np.full(len(params), np.nan)
            # Sums row by row: those of a matrix product depend on how many rows there are.
            fitness[rows] = ((found.outcomes - self.mean) * self.functionals[which[rows]]).sum(1)
            climbing = emitters.tell(climbing, points, fitness, which)
            parts.append(found)
            steps += taken
        return join(parts), steps

    def _optimizer(self, space: SearchSpace, origin: str) -> Optimizer:
        r = self.scene.recipe
        if self.parents is not None:
            return IsoLineVariation(self.parents[origin], r.population, r.sigma)
        if r.emitter == "cmaes":
            return Cmaes(CmaesSettings(population=r.population, sigma=r.sigma), space.size, diagonal=True)
        return Pgpe(PgpeSettings(population=r.population, sigma=r.sigma))


def play_piece(piece: GrowthPiece) -> FoundRows:
    """Play a piece on a worker, with one thread; `UserError` if the environment is another one here."""
    scene = piece.scene
    _check_environment(scene.spec)
    player = GenerationPlayer(
        scene.spec, scene.network, scene.recipe, find_tasks(scene.spec.id, scene.tasks), threads=1
    )
    return play_alone(piece, player)


def play_alone(piece: GrowthPiece, player: GenerationPlayer) -> FoundRows:
    """Play a piece with one thread of torch and BLAS, so that no sum depends on how many cores there are."""
    with one_thread(), one_blas_thread():
        return piece.play(player)


@functools.lru_cache(maxsize=8)
def _check_environment(spec: EnvSpec) -> None:
    here = env_spec(spec.id, spec.horizon, spec.arguments)
    told = first_difference({"env": spec.identity()}, {"env": here.identity()})
    if told is not None:
        raise UserError(
            f"the environment {spec.id} of this worker is not the one of the command: {told}. Install the same on both"
        )
