"""Settings of a search. Lengths are in standard deviations: of the pool's latents, or of each weight under the prior."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from lightning_pz.common import checks
from lightning_pz.common.errors import UserError
from lightning_pz.search.algorithm_settings import (
    BaselineSettings,
    BoSettings,
    CmaesSettings,
    GradientSettings,
    OffPolicySettings,
    PgpeSettings,
    RandomLatentSettings,
    given_flags,
)

Algorithm = Literal[
    "pgpe", "cmaes", "bo", "random_latent", "gradient", "parameter_pgpe", "ppo", "sac", "td3", "ddpg", "tqc", "crossq", "dqn"
]  # fmt: skip
ALGORITHMS: tuple[str, ...] = get_args(Algorithm)
BASELINES = ("ppo", "sac", "td3", "ddpg", "tqc", "crossq", "dqn")
Start = Literal["draws", "pool_best", "pool_steady", "pool_top"]
STARTS: tuple[str, ...] = get_args(Start)
POOL_STARTS = ("pool_best", "pool_steady", "pool_top")
AnswersBy = Literal["episodes", "steps"]
SpaceName = Literal["latent", "widened", "weights", "own"]
OFF_POLICY = ("td3", "sac", "tqc")
"""Rivals that can begin where the pool ends: with a policy of its decoder and the episodes of its growth."""
PACKAGES = {"cmaes": ("cma", "cmaes")} | dict.fromkeys(BASELINES, ("stable_baselines3", "baselines"))
PACKAGES |= dict.fromkeys(("tqc", "crossq"), ("sb3_contrib", "baselines"))
"""By algorithm: the optional package it imports, and the extra of this package that installs it."""
_ONLY_FOR = {
    "start": ("pgpe", "cmaes", "bo", "parameter_pgpe", *OFF_POLICY),
    "space": OFF_POLICY,
    "release_decoder_at": ("gradient", "pgpe"),
    "widen": ("pgpe",),
    "behavior_step": ("pgpe", "cmaes"),
    "hyperparameters": BASELINES,
}  # Algorithms that can use a setting


@dataclass(frozen=True)
class SearchSettings:
    """One search: on what task, by what algorithm, for how long.

    Args:
        algorithm: What is searched, and how.
        task: Name of the task, or `mypackage.module:function`; several with commas between them, or `all`.
        budget: Environment steps of the search, starts included; evaluation is apart.
        episodes: Episodes after which the search ends, starts included, with the generation that reaches them; as many as
            the budget allows if null.
        answers_at: Numbers of episodes (or steps) at which the policy that the search would answer with is kept, and measured
            at the end, with the one it ends at, on episodes that chose nothing: `answers.csv`.
        answers_by: What `answers_at` counts: `episodes`, or environment `steps`.
        answer_episodes: Episodes of that measurement.
        seed: Seed of the search and of its training episodes.
        start: Where the search begins: `draws` tries some decoded latents (or draws of the prior) and counts their steps;
            `pool_best` is the policy of the grown pool that earned most in the episode in which it was found (`pgpe`,
            `cmaes`: its encoding; `bo`, `parameter_pgpe`: its weights), which takes no step, whatever the task: episodes are
            replayed where the growth did not know it; `pool_steady`, likewise, is the one that earned most on average of its own
            episode and those of the three that act most like it, which is less often luck; `pool_top` tries `starts` of those
            that earned most, since another may be best after encoding and over a whole episode; a file
            `.../policy.npz`, or a folder with a slash in its name and `<task>.npz` in it, is used like `pool_best`.
        latents: What random latents are drawn from, those of `random_latent` and of `draws`: `density` (a kernel density
            over encoded training policies) or `gaussian` (with their mean and covariance).
        space: `td3`, `sac`, `tqc`: what the actor learns, a policy of the decoder's layout: `latent`, the latent that its weights
            are decoded from; `widened`, the latent and an offset of all weights; `weights`, these themselves. Null is the
            library's own learner, from scratch; `own` the same with `replay`.
        replay: With `--space`: share of each batch that comes from episodes of the grown pool's own policies, played again with
            the task's rewards, which takes no step; 1 learns from those alone, 0 does without.
        anchor: `pgpe`, `cmaes`, `bo`, `--space latent` or `widened` from a given policy: shift all weights that the decoder
            gives, so that the first latent behaves like this policy on states of the pool, which takes no step; or begin at
            its reconstruction.
        starts: Most decoded latents (or draws of the prior, or policies of the pool) that are tried, to begin at the best
            of them; their steps count.
        start_share: Share of the budget that trying them may take, which lowers their number.
        start_episodes: Episodes of each start.
        evaluate_every: Environment steps between evaluations of the incumbent; every generation if null.
        evaluation_episodes: Episodes of an evaluation, the same ones every time and for every algorithm.
        test_episodes: Episodes on which the final policy is measured; they choose nothing.
        patience: Evaluations without a better one after which the search stops; never if null.
        hyperparameters: Of `ppo`, `sac`, `td3`, `ddpg`, `tqc`, `crossq`, `dqn`: `default`, those that Stable-Baselines3 documents,
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
        baselines: Settings of `ppo`, `sac`, `td3`, `ddpg`, `tqc`, `crossq` and `dqn`.
        off_policy: Settings of `td3`, `sac` and `tqc` with `--space`.
    """

    algorithm: Algorithm = "pgpe"
    task: str = "standard"
    budget: int = 1_000_000
    episodes: int | None = None
    answers_at: list[int] = field(default_factory=list)
    answers_by: AnswersBy = "episodes"
    answer_episodes: int = 50
    seed: int = 0
    start: Start | str = "draws"
    latents: checks.LatentsKind = "density"
    space: SpaceName | None = None
    replay: float = 0.5
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
    off_policy: OffPolicySettings = field(default_factory=OffPolicySettings)

    def __post_init__(self) -> None:
        checks.check_choices(self)
        if not (self.start.endswith(".npz") or "/" in self.start):
            checks.one_of("start", self.start, (*STARTS, "FILE.npz", "FOLDER/"))
        counts = ("budget", "episodes", "starts", "start_episodes", "evaluation_episodes")
        checks.at_least(1, given_flags(self, "", *counts, "evaluate_every", "patience", "release_decoder_at"))
        checks.at_least(0, {"answers_at": min(self.answers_at, default=0)})
        checks.at_least(2, given_flags(self, "", "test_episodes", "answer_episodes"))  # an interval needs two
        checks.seeds({"seed": self.seed})
        checks.positive(given_flags(self, "", "widen", "behavior_step"))
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
        self._check_off_policy()
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

    def _check_off_policy(self) -> None:
        if not 0 <= self.replay <= 1:
            raise UserError(f"--replay expects a share of each batch, from 0 to 1, but got {self.replay}")
        if self.space is None:
            for flag, is_given in (("start", self.start != "draws"), ("replay", self.replay != 0.5)):
                if is_given and (flag == "replay" or self.algorithm in OFF_POLICY):
                    raise UserError(
                        f"--{flag} {getattr(self, flag)} goes with --space latent, widened or weights for --algorithm "
                        f"{', '.join(OFF_POLICY)}: give --space, or leave --{flag} out"
                    )
        elif self.space == "own":
            if not 0 < self.replay < 1 or self.start != "draws":
                raise UserError(
                    f"--space own is the library's own learner from scratch with episodes of the pool beside its own, so it "
                    f"expects --start draws and --replay between 0 and 1, but got {self.start} and {self.replay:g}: correct "
                    "them, or leave --space out"
                )
        elif self.hyperparameters != "default":
            raise UserError(
                f"--hyperparameters {self.hyperparameters} are those of the library's own learner, so they do not go with "
                f"--space {self.space}: leave one of them out"
            )
        own, learns = self.off_policy, self.off_policy.for_replay(self.replay)
        if self.reads_old_data and own.best + own.random == 0:
            raise UserError(
                f"--replay {self.replay:g} learns from the pool's episodes, but --off_policy.best and --off_policy.random are "
                "both 0, which leaves none: raise one of them, or give --replay 0 (--space own: leave --space out)"
            )
        if self.space is not None and self.replay == 1 and learns.critic_updates + learns.joint_updates == 0:
            raise UserError(
                "--replay 1 learns from old data alone, but --off_policy.critic_updates and --off_policy.joint_updates are both "
                "0, so that nothing would be learned: raise one of them, or give --replay below 1"
            )

    @property
    def is_rival(self) -> bool:
        """Whether it is a learner from scratch, which takes nothing of the decoder but the widths of the policies."""
        return self.algorithm in BASELINES and self.space in (None, "own")

    @property
    def reads_old_data(self) -> bool:
        """Whether it learns from the episodes of the pool's growth."""
        return self.space is not None and self.replay > 0

    @property
    def begins_with_updates(self) -> bool:
        """Whether it learns from old data before its first step."""
        return self.reads_old_data and self.space != "own"

    @property
    def draws_latents(self) -> bool:
        """Whether the result depends on what random latents are drawn from."""
        decodes = self.algorithm != "parameter_pgpe" and self.space != "weights" and not self.is_rival
        return (self.start == "draws" and decodes) or self.behavior_step is not None

    @property
    def encodes_start(self) -> bool:
        """Whether a given policy becomes a latent; a search in weights takes it as it is."""
        return self.start != "draws" and self.algorithm != "parameter_pgpe" and self.space != "weights"

    @property
    def anchors(self) -> bool:
        """Whether the decoder is shifted to a given policy."""
        return self.anchor and self.encodes_start

    @property
    def reads_pool(self) -> bool:
        """Whether the result depends on the decoder's pool."""
        return self.anchors or self.start in POOL_STARTS or self.reads_old_data

    def count_starts(self, horizon: int) -> int:
        """Return how many starts are tried, for episodes of at most `horizon` steps; as many as are kept at least."""
        affordable = int(self.start_share * self.budget) // (self.start_episodes * horizon)
        least = self.gradient.policies if self.algorithm == "gradient" else 1
        return max(least, min(self.starts, affordable))

    def work(self, horizon: int) -> int:
        """Return the most steps that it takes, and updates on old data before the first, for episodes of `horizon` steps."""
        steps = self.budget if self.episodes is None else min(self.budget, self.episodes * horizon)
        if not self.begins_with_updates:
            return steps
        if self.replay == 1:
            steps = (
                self.count_starts(horizon) * self.start_episodes * horizon if self.start in ("draws", "pool_top") else 0
            )
        learns = self.off_policy.for_replay(self.replay)
        return steps + learns.critic_updates + learns.joint_updates

    def identity(self) -> dict[str, Any]:
        """Return what decides the result, but not the content of a file in `start`."""
        from lightning_pz.search.search_identity import search_identity  # which imports this module

        return search_identity(self)


def check_algorithm_package(algorithm: str) -> None:
    """Raise `UserError` if the optional package that an algorithm needs is not installed."""
    if algorithm in PACKAGES:
        checks.check_extra(*PACKAGES[algorithm], f"--algorithm {algorithm}")
