"""Settings of a grown pool; `lightning_pz.growth` makes it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Int

from lightning_pz.common.checks import at_least, check_choices, positive, seeds
from lightning_pz.common.errors import UserError
from lightning_pz.common.processes import threads_or_all
from lightning_pz.envs.episode_seeds import episode_seeds, seed_of
from lightning_pz.policy import Prior
from lightning_pz.pool.states import StateCounts

POOL_MAKING = {"states_of": "whole generations"}
"""How a growth becomes a pool, where versions differ. Part of the pool's identity but not of the growth's, so that an
older growth can be completed."""


@dataclass(frozen=True)
class GrownRecipe:
    """How a pool is grown; everything but `threads` is part of the pool's name.

    Args:
        steps: Environment steps of the growth, at most; those of the state sample, some 250,000 by default, come before.
        first: Random policies with which it begins.
        size: Most policies that are kept.
        horizon: Steps of an episode of the growth, at most; the environment's own if null or less.
        outcome: What describes an episode: `mean` of the standardized observations, `mean_spread` with their standard
            deviations, `fourier` features of visited state-action pairs; each with the episode's length.
        features: Fourier features.
        choice: How directions are chosen: `covering` prefers directions that are not alike and along which few
            policies lie far; `frontier` those along which few lie near the furthest; `random` draws them independently.
        emitter: What climbs a direction: `pgpe`, or `cmaes` with a standard deviation per weight (extra `cmaes`);
            `iso_line` climbs nothing and varies pairs of kept policies, as MAP-Elites does (extra `qd`).
        directions: Directions climbed side by side; even, for each comes with its opposite.
        population: Policies per direction and generation; even, for they come in pairs.
        generations: Generations per round; then directions are chosen anew.
        sigma: First standard deviation of the search, in that of each weight under the prior, or of each latent.
        latent_rounds: How many of the last rounds begin in the latent space of the pool so far; more where episodes
            end early, for which rounds will be the last is not known beforehand.
        latent_share: Share of the generations of such a round before it releases the decoder.
        latent_dim: Numbers in a latent of those rounds.
        latent_steps: Training steps of their autoencoder.
        visited: Share of the state sample that the kept policies visited themselves.
        own_states: Visited states that are kept of each policy.
        neighbors: Nearest neighbors that novelty averages over.
        seed: Of everything.
        prior: Distribution of the first policies, and the unit of weights.
        states: Sizes of the parts of the state sample.
        threads: Threads that step physics and compare policies; all cores, or OMP_NUM_THREADS of them, if null. Results do
            not depend on it.
    """

    steps: int = 10_000_000
    first: int = 1024
    size: int = 20_000
    horizon: int | None = 300
    outcome: Literal["mean", "mean_spread", "fourier"] = "mean"
    features: int = 64
    choice: Literal["covering", "frontier", "random"] = "covering"
    emitter: Literal["pgpe", "cmaes", "iso_line"] = "pgpe"
    directions: int = 16
    population: int = 16
    generations: int = 20
    sigma: float = 0.15
    latent_rounds: int = 0
    latent_share: float = 0.5
    latent_dim: int = 16
    latent_steps: int = 600
    visited: float = 0.5
    own_states: int = 8
    neighbors: int = 15
    seed: int = 0
    prior: Prior = field(default_factory=Prior)
    states: StateCounts = field(default_factory=StateCounts)
    threads: int | None = None

    def __post_init__(self) -> None:
        least = {
            "steps": 1, "first": 32, "size": 40, "features": 2, "directions": 2, "population": 2, "generations": 1,
            "latent_rounds": 0, "latent_dim": 1, "latent_steps": 1, "own_states": 1, "neighbors": 1,
        }  # fmt: skip
        seeds({"seed": self.seed})
        at_least(1, {"threads": self.cores})
        for name, bound in least.items():
            at_least(bound, {name: getattr(self, name)})
        for name, value in (("directions", self.directions), ("population", self.population)):
            if value % 2:
                raise UserError(f"--{name} expects an even number, for they come in pairs, but got {value}")
        if self.horizon is not None and self.horizon < 1:
            raise UserError(f"--horizon expects at least 1 step, or null, but got {self.horizon}")
        if self.neighbors >= min(self.first, self.size):
            raise UserError(
                f"--neighbors expects fewer than --first ({self.first}) and --size ({self.size}), but got {self.neighbors}"
            )
        check_choices(self)
        positive({"sigma": self.sigma})
        for name, share in (("latent_share", self.latent_share), ("visited", self.visited)):
            if not 0 <= share <= 1:
                raise UserError(f"--{name} expects a share from 0 to 1, but got {share}")

    @property
    def cores(self) -> int:
        """Threads to take: those asked for, or all cores that there are for this process."""
        return threads_or_all(self.threads)

    def episode_steps(self, horizon: int) -> int:
        """Return the steps of an episode of the growth where the environment's episodes have `horizon`."""
        return horizon if self.horizon is None else min(self.horizon, horizon)

    def round_cost(self, horizon: int) -> int:
        """Return the most environment steps that a round can take."""
        return self.directions * self.population * self.generations * self.episode_steps(horizon)

    def generation_of(self, numbers: Int[np.ndarray, " policies"]) -> Int[np.ndarray, " policies"]:
        """Return the generation in which each policy was played, by its number in the growth; the first are 0."""
        return np.maximum(0, 1 + (numbers - self.first) // (self.directions * self.population))

    @property
    def own_seed(self) -> int:
        """Seed from which those of the growth's episodes follow."""
        return seed_of(self.seed, 4)

    def episode_seed(self, generation: int) -> int:
        """Return the seed of the one episode that each policy of a generation plays, by which it can be played again."""
        return episode_seeds(self.own_seed, generation, 1)[0]

    def identity(self) -> dict[str, Any]:
        """Return all that decides the result, as plain data."""
        # The default emitter is left out, so that pools from before this setting are found again.
        drop = {"threads"} | ({"emitter"} if self.emitter == "pgpe" else set())
        plain = dataclasses.asdict(self) | self._unused() | {"states": self.states.identity()}
        # One decoder gave the policies of all climbs at once before, and other last digits.
        marks = {"decoded": "climb by climb"} if self.latent_rounds else {}
        # Likewise the features of all points of a batch.
        marks |= {"fourier": "point by point"} if self.outcome == "fourier" else {}
        return {name: value for name, value in plain.items() if name not in drop} | POOL_MAKING | marks

    def _unused(self) -> dict[str, Any]:
        """Return the settings that decide nothing beside the others, by their defaults, so that they name no other pool."""
        idle = [] if self.outcome == "fourier" else ["features"]
        idle += [] if self.latent_rounds else ["latent_share", "latent_dim", "latent_steps"]
        return {one.name: one.default for one in dataclasses.fields(self) if one.name in idle}

    kind = "grown"

    @property
    def label(self) -> str:
        """A few letters for the pool's name; `sweeps` recognizes grown pools by them."""
        return f"grown-s{self.seed}"
