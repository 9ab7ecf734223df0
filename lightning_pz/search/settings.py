"""One search as the command line knows it: what is sought, where it begins, for how long. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from lightning_pz.common.checks import LATENTS, LatentsKind, at_least, one_of, positive, seeds
from lightning_pz.common.errors import UserError
from lightning_pz.search.algorithm_settings import (
    BaselineSettings,
    CmaesSettings,
    GradientSettings,
    PgpeSettings,
    RandomLatentSettings,
)

Algorithm = Literal["pgpe", "cmaes", "random_latent", "gradient", "parameter_pgpe", "ppo", "sac", "td3", "ddpg"]
ALGORITHMS: tuple[str, ...] = get_args(Algorithm)
BASELINES = ("ppo", "sac", "td3", "ddpg")
STARTS = ("draws", "pool_best", "pool_top")
_TRIED = ("draws", "pool_top")
"""Starts of which some are tried, and their steps counted."""
_RELEASE, _AT_POLICY = ("gradient", "pgpe"), ("pgpe", "cmaes", "parameter_pgpe")
"""Algorithms that can let the decoder go, and that can begin at a given policy."""
_DECODES = ("pgpe", "cmaes", "random_latent", "gradient")


@dataclass(frozen=True)
class SearchSettings:
    """One search: what is sought, with what, for how long.

    Args:
        algorithm: What is searched, and how.
        task: Name of the task, or `mypackage.module:function`; several with commas between them, or `all`.
        budget: Environment steps, all that are taken to search; evaluation is apart.
        seed: Seed of the search and of its training episodes.
        start: Where the search begins: `draws` tries some decoded latents (or draws of the prior) and counts their
            steps; `pool_best` is the policy of the grown pool that earned most in the episode in which it was found
            (`pgpe`, `cmaes`: its encoding; `parameter_pgpe`: its weights), which takes no step; `pool_top` tries `starts` of
            those that earned most, since the best on paper may be another after encoding and over a whole episode; a
            file `.../policy.npz` is the policy in it, and a folder with a slash in its name the policy `<task>.npz` in
            it, used in the same way; what it took to find them is not counted.
        latents: What random latents are drawn from, those of `random_latent` and of `draws`: `density` (a kernel density
            over encoded training policies) or `gaussian` (with their mean and covariance).
        anchor: `pgpe`, `cmaes` from a given policy: move the decoder first, by one shift of all the weights it gives, so
            that it gives this policy as it behaves on states of the pool, which takes no step; without it the search
            begins at what encoding and decoding leave of the policy.
        starts: Most decoded latents (or draws of the prior, or policies of the pool) that are tried before the search
            begins at the best of them; their steps count.
        start_share: Share of the budget that trying them may take, which lowers their number.
        start_episodes: Episodes of each.
        evaluate_every: Environment steps between evaluations of the incumbent; every generation if null.
        evaluation_episodes: Episodes of an evaluation, the same ones every time and for every algorithm.
        test_episodes: Episodes on which the final policy is measured; they chose nothing.
        patience: Evaluations without a better one after which the search stops; never if null.
        checkpoint_seconds: Seconds between two saved states, in case the run is interrupted.
        release_decoder_at: `gradient`, `pgpe`: environment steps after which it goes on in the full parameter space.
        widen: `pgpe`: search an offset of all weights beside the latent, with this share of its spread (in standard
            deviations of each weight under the prior); the latent alone if null.
        behavior_step: Root mean square change of the action, in half action boxes, that the first `sigma` of `pgpe` or
            `cmaes` makes along the decoder's steepest direction; takes the place of their `sigma` if given.
        pgpe: Settings of `pgpe` and `parameter_pgpe`.
        cmaes: Settings of `cmaes`.
        random_latent: Settings of `random_latent`.
        gradient: Settings of `gradient`.
        baselines: Settings of `ppo`, `sac`, `td3` and `ddpg`.
    """

    algorithm: Algorithm = "pgpe"
    task: str = "standard"
    budget: int = 1_000_000
    seed: int = 0
    start: str = "draws"
    latents: LatentsKind = "density"
    anchor: bool = True
    starts: int = 200
    start_share: float = 0.2
    start_episodes: int = 1
    evaluate_every: int | None = None
    evaluation_episodes: int = 20
    test_episodes: int = 200
    patience: int | None = None
    checkpoint_seconds: float = 10.0
    release_decoder_at: int | None = None
    widen: float | None = None
    behavior_step: float | None = None
    pgpe: PgpeSettings = field(default_factory=PgpeSettings)
    cmaes: CmaesSettings = field(default_factory=CmaesSettings)
    random_latent: RandomLatentSettings = field(default_factory=RandomLatentSettings)
    gradient: GradientSettings = field(default_factory=GradientSettings)
    baselines: BaselineSettings = field(default_factory=BaselineSettings)

    def check(self) -> None:
        """Raise `UserError` for a value outside its range, or settings that contradict each other."""
        one_of("algorithm", self.algorithm, ALGORITHMS)
        if not (self.start.endswith(".npz") or "/" in self.start):
            one_of("start", self.start, (*STARTS, "FILE.npz", "FOLDER/"))
        one_of("latents", self.latents, LATENTS)
        at_least(1, {
            "budget": self.budget, "starts": self.starts, "start_episodes": self.start_episodes,
            "evaluation_episodes": self.evaluation_episodes,
        })  # fmt: skip
        seeds({"seed": self.seed})
        # An interval needs two.
        at_least(2, {"test_episodes": self.test_episodes})
        for flag in ("evaluate_every", "patience", "release_decoder_at"):
            if (value := getattr(self, flag)) is not None:
                at_least(1, {flag: value})
        if not 0 < self.start_share <= 1:
            raise UserError(f"--start_share expects a share above 0 and at most 1, but got {self.start_share}")
        if not self.checkpoint_seconds >= 0:
            raise UserError(f"--checkpoint_seconds expects at least 0 seconds, but got {self.checkpoint_seconds}")
        if self.release_decoder_at is not None and self.algorithm not in _RELEASE:
            raise UserError(
                f"--release_decoder_at goes with --algorithm gradient or pgpe, but the algorithm is {self.algorithm}: "
                "leave it out, or choose one of those"
            )
        if self.start != "draws" and self.algorithm not in _AT_POLICY:
            raise UserError(
                f"--start {self.start} goes with --algorithm {', '.join(_AT_POLICY)}, but the algorithm is "
                f"{self.algorithm}: leave it out, or choose one of those"
            )
        if self.widen is not None:
            positive({"widen": self.widen})
            if self.algorithm != "pgpe":
                raise UserError(
                    f"--widen goes with --algorithm pgpe, but the algorithm is {self.algorithm}: leave it out, or choose pgpe"
                )
        if self.behavior_step is not None:
            positive({"behavior_step": self.behavior_step})
            if self.algorithm not in ("pgpe", "cmaes"):
                raise UserError(
                    f"--behavior_step goes with --algorithm pgpe or cmaes, which search latents with a sigma, but the "
                    f"algorithm is {self.algorithm}: leave it out, or choose one of them"
                )
        for section in (self.pgpe, self.cmaes, self.random_latent, self.gradient, self.baselines):
            section.check()
        if self.algorithm == "gradient" and self.gradient.policies > self.starts:
            raise UserError(
                f"--gradient.policies takes the best of the starts, so it expects at most --starts ({self.starts}), "
                f"but got {self.gradient.policies}"
            )

    @property
    def draws_latents(self) -> bool:
        """Whether the result depends on what random latents are drawn from."""
        starts = self.start == "draws" and self.algorithm in _DECODES
        return starts or self.behavior_step is not None

    @property
    def encodes_start(self) -> bool:
        """Whether a given policy becomes a latent; weights give it as it is."""
        return self.start != "draws" and self.algorithm != "parameter_pgpe"

    @property
    def anchors(self) -> bool:
        """Whether the decoder is to be moved to a given policy."""
        return self.anchor and self.encodes_start

    def count_starts(self, horizon: int) -> int:
        """Return how many starts there are for episodes of at most `horizon` steps; as many as must go on at least."""
        affordable = int(self.start_share * self.budget) // (self.start_episodes * horizon)
        least = self.gradient.policies if self.algorithm == "gradient" else 1
        return max(least, min(self.starts, affordable))

    def identity(self) -> dict[str, Any]:
        """Return what decides the result: all but other algorithms' settings and the rhythm of saving.

        `start` is as it was given: who wants the content of a file must look into it.
        """
        own = {"parameter_pgpe": "pgpe"} | dict.fromkeys(BASELINES, "baselines")
        sections = {"pgpe", "cmaes", "random_latent", "gradient", "baselines"}
        drop = sections - {own.get(self.algorithm, self.algorithm)} | {"checkpoint_seconds"}
        # Left out where they are not used, so that runs from before these settings are found again.
        if self.algorithm != "gradient" and self.release_decoder_at is None:
            drop.add("release_decoder_at")
        drop |= {name for name in ("widen", "behavior_step") if getattr(self, name) is None}
        if self.start == "draws":
            drop.add("start")
        if not self.draws_latents or self.latents == "gaussian":
            drop.add("latents")
        if not self.encodes_start:
            drop.add("anchor")
        if self.algorithm in ("random_latent", *BASELINES) or self.start not in _TRIED:
            drop |= {"starts", "start_share", "start_episodes"}
        plain = {key: value for key, value in vars(self).items() if key not in drop}
        return {key: vars(value) if hasattr(value, "__dict__") else value for key, value in plain.items()}
