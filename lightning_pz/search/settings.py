"""Settings of a search. Lengths are in standard deviations: of the pool's latents, or of each weight under the prior."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from lightning_pz.common import checks
from lightning_pz.common.errors import UserError

Algorithm = Literal[
    "pgpe", "cmaes", "bo", "random_latent", "gradient", "parameter_pgpe", "ppo", "sac", "td3", "ddpg", "tqc", "crossq"
]
ALGORITHMS: tuple[str, ...] = get_args(Algorithm)
BASELINES = ("ppo", "sac", "td3", "ddpg", "tqc", "crossq")
Start = Literal["draws", "pool_best", "pool_top"]
STARTS: tuple[str, ...] = get_args(Start)
PACKAGES = {"cmaes": ("cma", "cmaes")} | dict.fromkeys(BASELINES, ("stable_baselines3", "baselines"))
PACKAGES |= dict.fromkeys(("tqc", "crossq"), ("sb3_contrib", "baselines"))
"""By algorithm: the optional package it imports, and the extra of this package that installs it."""
_ONLY_FOR = {
    "start": ("pgpe", "cmaes", "bo", "parameter_pgpe"),
    "release_decoder_at": ("gradient", "pgpe"),
    "widen": ("pgpe",),
    "behavior_step": ("pgpe", "cmaes"),
    "hyperparameters": BASELINES,
}  # Algorithms that can use a setting


@dataclass(frozen=True)
class PgpeSettings:
    """Policy gradients with parameter-based exploration.

    Args:
        population: Policies per generation; even, since they come in pairs.
        episodes: Episodes per policy and generation.
        sigma: First standard deviation of the search distribution, in every direction.
        sigma_rate: Learning rate of the standard deviations, per generation.
        sigma_max_change: Largest relative change of a standard deviation per generation, as a share.
        optimizer: What moves the center.
        max_speed: ClipUp: longest step of the center per generation, as a share of the first radius
            (`sigma` times the root of the number of coordinates).
        momentum: ClipUp: share of the last step that is kept.
        learning_rate: Adam: learning rate of the center, as a share of `sigma` per generation.
    """

    population: int = 16
    episodes: int = 1
    sigma: float = 0.15
    sigma_rate: float = 0.1
    sigma_max_change: float = 0.2
    optimizer: Literal["clipup", "adam"] = "clipup"
    max_speed: float = 0.3
    momentum: float = 0.9
    learning_rate: float = 0.3

    def __post_init__(self) -> None:
        checks.check_choices(self, "pgpe.")
        if self.population < 2 or self.population % 2:
            raise UserError(
                f"--pgpe.population expects an even number of at least 2, since policies come in pairs, but got {self.population}"
            )
        checks.at_least(1, _flags(self, "pgpe", "episodes"))
        checks.positive(_flags(self, "pgpe", "sigma", "max_speed", "learning_rate"))
        checks.shares(_flags(self, "pgpe", "sigma_max_change", "momentum"))
        if not (math.isfinite(self.sigma_rate) and self.sigma_rate >= 0):
            raise UserError(f"--pgpe.sigma_rate expects a number of at least 0, but got {self.sigma_rate}")


@dataclass(frozen=True)
class CmaesSettings:
    """Covariance matrix adaptation.

    Args:
        population: Policies per generation; 4 + 3 ln k for k coordinates if null.
        episodes: Episodes per policy and generation.
        sigma: First step size.
    """

    population: int | None = None
    episodes: int = 1
    sigma: float = 0.15

    def __post_init__(self) -> None:
        checks.at_least(2, _flags(self, "cmaes", "population"))
        checks.at_least(1, _flags(self, "cmaes", "episodes"))
        checks.positive(_flags(self, "cmaes", "sigma"))


@dataclass(frozen=True)
class BoSettings:
    """Bayesian optimization, one episode at a time.

    Args:
        policies: With `--start pool_best`: how many of the pool's policies that earned most are considered.
        step: Largest standard deviation of a step from a policy that was tried.
    """

    policies: int = 40
    step: float = 0.5

    def __post_init__(self) -> None:
        checks.at_least(1, _flags(self, "bo", "policies"))
        checks.positive(_flags(self, "bo", "step"))


@dataclass(frozen=True)
class RandomLatentSettings:
    """The best of as many random latents as the budget allows.

    Args:
        population: Latents per generation.
        episodes: Episodes per latent.
    """

    population: int = 40
    episodes: int = 1

    def __post_init__(self) -> None:
        checks.at_least(1, _flags(self, "random_latent", "population", "episodes"))


@dataclass(frozen=True)
class GradientSettings:
    """Policy gradient through the frozen decoder.

    Args:
        policies: Policies that are improved side by side, the best of the starts.
        episodes: Episodes per policy and step of the optimizer; at least 2.
        noise: Standard deviation of the exploration noise on the action, as a share of half the action box.
        discount: Discount of a return per environment step, in the gradient only; 1 for none.
        learning_rate: Adam's, on latents.
        parameter_learning_rate: Adam's, on weights, once the decoder is released.
    """

    policies: int = 4
    episodes: int = 8
    noise: float = 0.3
    discount: float = 0.99
    learning_rate: float = 0.1
    parameter_learning_rate: float = 0.03

    def __post_init__(self) -> None:
        checks.at_least(1, _flags(self, "gradient", "policies"))
        checks.at_least(2, _flags(self, "gradient", "episodes"))  # the baseline of an episode is the mean of the others
        checks.positive(_flags(self, "gradient", "noise", "learning_rate", "parameter_learning_rate"))
        if not 0 < self.discount <= 1:
            raise UserError(f"--gradient.discount expects a number above 0 and at most 1, but got {self.discount}")


@dataclass(frozen=True)
class BaselineSettings:
    """Learners of Stable-Baselines3.

    Args:
        chunk: Environment steps between two evaluations, at least: they come at the end of an episode.
    """

    chunk: int = 2000

    def __post_init__(self) -> None:
        checks.at_least(1, _flags(self, "baselines", "chunk"))


@dataclass(frozen=True)
class SearchSettings:
    """One search: on what task, by what algorithm, for how long.

    Args:
        algorithm: What is searched, and how.
        task: Name of the task, or `mypackage.module:function`; several with commas between them, or `all`.
        budget: Environment steps of the search, starts included; evaluation is apart.
        episodes: Episodes after which the search ends, starts included, with the generation that reaches them; as many as
            the budget allows if null.
        answers_at: Numbers of episodes at which the policy that the search would answer with is kept, and measured at the
            end, with the one it ends at, on episodes that chose nothing: `answers.csv`.
        answer_episodes: Episodes of that measurement.
        seed: Seed of the search and of its training episodes.
        start: Where the search begins: `draws` tries some decoded latents (or draws of the prior) and counts their steps;
            `pool_best` is the policy of the grown pool that earned most in the episode in which it was found (`pgpe`,
            `cmaes`: its encoding; `bo`, `parameter_pgpe`: its weights), which takes no step; `pool_top` tries `starts` of those
            that earned most, since another may be best after encoding and over a whole episode; a file
            `.../policy.npz`, or a folder with a slash in its name and `<task>.npz` in it, is used like `pool_best`.
        latents: What random latents are drawn from, those of `random_latent` and of `draws`: `density` (a kernel density
            over encoded training policies) or `gaussian` (with their mean and covariance).
        anchor: `pgpe`, `cmaes`, `bo` from a given policy: shift all weights that the decoder gives, so that the first latent
            behaves like this policy on states of the pool, which takes no step; or begin at its reconstruction.
        starts: Most decoded latents (or draws of the prior, or policies of the pool) that are tried, to begin at the best
            of them; their steps count.
        start_share: Share of the budget that trying them may take, which lowers their number.
        start_episodes: Episodes of each start.
        evaluate_every: Environment steps between evaluations of the incumbent; every generation if null.
        evaluation_episodes: Episodes of an evaluation, the same ones every time and for every algorithm.
        test_episodes: Episodes on which the final policy is measured; they choose nothing.
        patience: Evaluations without a better one after which the search stops; never if null.
        hyperparameters: Of `ppo`, `sac`, `td3`, `ddpg`, `tqc` and `crossq`: `default`, those that Stable-Baselines3 documents,
            but for the actor's widths, which are the policy's; or `zoo`, those that RL Zoo publishes for the environment, or
            for the nearest one of that name (the run's config.yaml says which).
        checkpoint_seconds: Seconds between two saved states, in case the run is interrupted.
        release_decoder_at: `gradient`, `pgpe`: environment steps after which weights are searched; never if null.
        widen: `pgpe`: also search an offset of all weights, whose unit is this share of a weight's spread; not if null.
        behavior_step: Root mean square change of the action, in half action boxes, that the first `sigma` of `pgpe` or
            `cmaes` makes along the decoder's steepest direction; replaces their `sigma` unless null.
        pgpe: Settings of `pgpe` and `parameter_pgpe`.
        cmaes: Settings of `cmaes`.
        bo: Settings of `bo`.
        random_latent: Settings of `random_latent`.
        gradient: Settings of `gradient`.
        baselines: Settings of `ppo`, `sac`, `td3`, `ddpg`, `tqc` and `crossq`.
    """

    algorithm: Algorithm = "pgpe"
    task: str = "standard"
    budget: int = 1_000_000
    episodes: int | None = None
    answers_at: list[int] = field(default_factory=list)
    answer_episodes: int = 50
    seed: int = 0
    start: Start | str = "draws"
    latents: checks.LatentsKind = "density"
    anchor: bool = True
    starts: int = 200
    start_share: float = 0.2
    start_episodes: int = 1
    evaluate_every: int | None = None
    evaluation_episodes: int = 20
    test_episodes: int = 200
    patience: int | None = None
    hyperparameters: Literal["default", "zoo"] = "default"
    checkpoint_seconds: float = 10.0
    release_decoder_at: int | None = None
    widen: float | None = None
    behavior_step: float | None = None
    pgpe: PgpeSettings = field(default_factory=PgpeSettings)
    cmaes: CmaesSettings = field(default_factory=CmaesSettings)
    bo: BoSettings = field(default_factory=BoSettings)
    random_latent: RandomLatentSettings = field(default_factory=RandomLatentSettings)
    gradient: GradientSettings = field(default_factory=GradientSettings)
    baselines: BaselineSettings = field(default_factory=BaselineSettings)

    def __post_init__(self) -> None:
        checks.check_choices(self)
        if not (self.start.endswith(".npz") or "/" in self.start):
            checks.one_of("start", self.start, (*STARTS, "FILE.npz", "FOLDER/"))
        counts = ("budget", "episodes", "starts", "start_episodes", "evaluation_episodes")
        checks.at_least(1, _flags(self, "", *counts, "evaluate_every", "patience", "release_decoder_at"))
        checks.at_least(0, {"answers_at": min(self.answers_at, default=0)})
        checks.at_least(2, _flags(self, "", "test_episodes", "answer_episodes"))  # an interval needs two
        checks.seeds({"seed": self.seed})
        checks.positive(_flags(self, "", "widen", "behavior_step"))
        if not 0 < self.start_share <= 1:
            raise UserError(f"--start_share expects a share above 0 and at most 1, but got {self.start_share}")
        if not self.checkpoint_seconds >= 0:
            raise UserError(f"--checkpoint_seconds expects at least 0 seconds, but got {self.checkpoint_seconds}")
        for flag, algorithms in _ONLY_FOR.items():
            if (value := getattr(self, flag)) not in (None, "draws", "default") and self.algorithm not in algorithms:
                raise UserError(
                    f"--{flag} {value} goes with --algorithm {' or '.join(algorithms)}, but the algorithm is "
                    f"{self.algorithm}: leave it out, or choose one of those"
                )
        if self.algorithm == "bo" and self.start == "pool_top":
            raise UserError(
                "--algorithm bo tries the best policies of the pool one by one while it searches, so it does not go with "
                "--start pool_top: give --start pool_best, and --bo.policies for how many"
            )
        if self.algorithm == "gradient" and self.gradient.policies > self.starts:
            raise UserError(
                f"--gradient.policies takes the best of the starts, so it expects at most --starts ({self.starts}), "
                f"but got {self.gradient.policies}"
            )

    @property
    def draws_latents(self) -> bool:
        """Whether the result depends on what random latents are drawn from."""
        decodes = self.algorithm not in ("parameter_pgpe", *BASELINES)
        return (self.start == "draws" and decodes) or self.behavior_step is not None

    @property
    def encodes_start(self) -> bool:
        """Whether a given policy becomes a latent; a search in weights takes it as it is."""
        return self.start != "draws" and self.algorithm != "parameter_pgpe"

    @property
    def anchors(self) -> bool:
        """Whether the decoder is shifted to a given policy."""
        return self.anchor and self.encodes_start

    def count_starts(self, horizon: int) -> int:
        """Return how many starts are tried, for episodes of at most `horizon` steps; as many as are kept at least."""
        affordable = int(self.start_share * self.budget) // (self.start_episodes * horizon)
        least = self.gradient.policies if self.algorithm == "gradient" else 1
        return max(least, min(self.starts, affordable))

    def identity(self) -> dict[str, Any]:
        """Return what decides the result, but not the content of a file in `start`."""
        sections = {"pgpe", "cmaes", "bo", "random_latent", "gradient", "baselines"}
        own = {"parameter_pgpe": "pgpe"} | dict.fromkeys(BASELINES, "baselines")
        drop = sections - {own.get(self.algorithm, self.algorithm)} | {"checkpoint_seconds"}
        # Left out where they are not used, so that runs made before these settings existed are found again.
        unused = {
            "release_decoder_at": self.algorithm != "gradient" and self.release_decoder_at is None,
            "widen": self.widen is None,
            "behavior_step": self.behavior_step is None,
            "start": self.start == "draws",
            "latents": not self.draws_latents or self.latents == "gaussian",
            "anchor": not self.encodes_start,
            "hyperparameters": self.hyperparameters == "default",
            "episodes": self.episodes is None,
            "answers_at": not self.answers_at,
            "answer_episodes": not self.answers_at,
        }
        drop |= {name for name, is_unused in unused.items() if is_unused}
        if self.algorithm in ("bo", "random_latent", *BASELINES) or self.start not in ("draws", "pool_top"):
            drop |= {"starts", "start_share", "start_episodes"}
        plain = {key: value for key, value in vars(self).items() if key not in drop}
        return {key: vars(value) if hasattr(value, "__dict__") else value for key, value in plain.items()}


def check_algorithm_package(algorithm: str) -> None:
    """Raise `UserError` if the optional package that an algorithm needs is not installed."""
    if algorithm in PACKAGES:
        checks.check_extra(*PACKAGES[algorithm], f"--algorithm {algorithm}")


def _flags(settings: Any, section: str, *names: str) -> dict[str, Any]:
    """Return the values of some settings by command-line name, without those that are null."""
    values = {f"{section}.{name}".lstrip("."): getattr(settings, name) for name in names}
    return {flag: value for flag, value in values.items() if value is not None}
