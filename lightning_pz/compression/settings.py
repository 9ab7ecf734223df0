"""Every setting of a compression, as dataclasses for the command line. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from lightning_pz.common.errors import UserError, nearest
from lightning_pz.compression.methods.schedule import DISTRIBUTIONS, Ramp, check_sparsity
from lightning_pz.compression.seeds import MOST_JUDGED

PARTS = ("prune", "int8", "l0", "low_rank")
ALGORITHMS = ("sac", "td3", "ppo", "dqn")
RESUME = "resume"
"""Folder inside a run's where an unfinished training stands."""


@dataclass(frozen=True)
class L0Settings:
    """Hard-concrete gates.

    Args:
        penalty: Weight of the expected share of open gates in the loss, no unit.
        learning_rate: Adam's, of the gates' locations.
        start: Probability that a gate is open at the start.
    """

    penalty: float = 0.1
    learning_rate: float = 0.01
    start: float = 0.9


@dataclass(frozen=True)
class LowRankSettings:
    """Truncated singular value decomposition; the rank by one of four rules. A layer is left alone where factors of that
    rank would be no smaller than what it is now.

    Args:
        energy: Share of the squared singular values to keep.
        rank: The same rank for every layer; null for another rule.
        params: Share of a layer's weights that its factors may hold; null for another rule.
        error: Behavior FVU that all truncations together may cause; null for another rule.
    """

    energy: float = 0.99
    rank: int | None = None
    params: float | None = None
    error: float | None = None


@dataclass(frozen=True)
class DistillSettings:
    """Fine-tuning on a policy's own behavior, without reward.

    Args:
        steps: Gradient steps before those of int8.
        batch_size: Visited states per step.
        learning_rate: Adam's, falling to 0 by a cosine over the training and again over that of int8.
        episodes: Episodes that the policy plays to visit states.
        held_out: More of them, on whose states the behavior FVU is measured.
        rounds: How often the compressed policy plays as many episodes and the policy says what it would have done.
    """

    steps: int = 20_000
    batch_size: int = 256
    learning_rate: float = 1e-3
    episodes: int = 20
    held_out: int = 5
    rounds: int = 4


@dataclass(frozen=True)
class CompressSettings:
    """One compression: what is made small, how, and by what training.

    Args:
        algorithm: sac, td3, ppo or dqn; read from the file with --policy.
        method: `none`, or parts joined by +: prune, int8, l0, low_rank.
        sparsity: Share of the weights that pruning removes, 0 <= sparsity < 1.
        distribution: How pruned layers share it: erk or uniform.
        steps: Environment steps of the training, those of int8 apart; not used with --policy.
        int8_share: Steps of int8 training, as a share of the others.
        activations: Whether int8 rounds activations too; with --policy only.
        policy: A file with a policy to compress: policy.npz, a Stable-Baselines3 zip, or a checkpoint with --latent.
        latent: The latent to decode, k numbers, if --policy is a checkpoint.
        normalization: The file of `VecNormalize` statistics that belongs to the zip in --policy or --reference: a pickle,
            so one that you trust.
        reference: A Stable-Baselines3 zip of the dense policy, to measure a trained one against.
        seed: Of everything random.
        episodes: Fresh episodes on which the last policy is measured.
        checkpoint_every: Environment steps between saved states, at which episodes begin anew; null for none.
        ramp: When pruning happens, and between which shares of the steps the L0 penalty is on.
        l0: Gates.
        low_rank: Ranks.
        distill: Used with --policy.
        model: Arguments of the Stable-Baselines3 class, by algorithm.
    """

    algorithm: str = "sac"
    method: str = "prune+int8"
    sparsity: float = 0.95
    distribution: str = "erk"
    steps: int = 1_000_000
    int8_share: float = 0.3
    activations: bool = False
    policy: str | None = None
    latent: list[float] | None = None
    normalization: str | None = None
    reference: str | None = None
    seed: int = 0
    episodes: int = 100
    checkpoint_every: int | None = None
    ramp: Ramp = field(default_factory=Ramp)
    l0: L0Settings = field(default_factory=L0Settings)
    low_rank: LowRankSettings = field(default_factory=LowRankSettings)
    distill: DistillSettings = field(default_factory=DistillSettings)
    model: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def parts(self) -> frozenset[str]:
        """The parts of the method; empty for `none`."""
        return frozenset() if self.method == "none" else frozenset(self.method.split("+"))

    def has(self, part: str) -> bool:
        """Whether the method has a part."""
        return part in self.parts

    def base_steps(self) -> int:
        """Return the steps before those of int8: environment steps, with --policy gradient steps."""
        return self.distill.steps if self.policy else self.steps

    def total_steps(self) -> int:
        """Return all steps, those of int8 included."""
        return self.base_steps() + (round(self.int8_share * self.base_steps()) if self.has("int8") else 0)

    def check(self) -> None:
        """Raise `UserError` for a value outside its range, or settings that contradict each other."""
        _one_of("algorithm", self.algorithm, ALGORITHMS)
        names = self.method.split("+")
        for name in names:
            if name not in (*PARTS, "none"):
                raise UserError(
                    f"--method expects none, or {', '.join(PARTS)} joined by +, but got {self.method!r}."
                    + nearest(name, (*PARTS, "none"))
                )
        if len(set(names)) < len(names) or ("none" in names and len(names) > 1):
            raise UserError(f"--method expects none, or different parts joined by +, but got {self.method!r}")
        if {"prune", "l0"} <= set(names):
            raise UserError("--method expects prune or l0, not both, for each decides which weights go: drop one")
        check_sparsity(self.sparsity)
        _one_of("distribution", self.distribution, DISTRIBUTIONS)
        _at_most("seed", self.seed, 2**32 - 1)
        _at_most("episodes", self.episodes, MOST_JUDGED)
        _at_most("distill.held_out", self.distill.held_out, MOST_JUDGED)
        for flag, whole, least in (
            ("steps", self.steps, 1), ("episodes", self.episodes, 2), ("seed", self.seed, 0),
            ("distill.steps", self.distill.steps, 1), ("distill.batch_size", self.distill.batch_size, 1),
            ("distill.episodes", self.distill.episodes, 1), ("distill.held_out", self.distill.held_out, 1),
            ("distill.rounds", self.distill.rounds, 0),
            ("checkpoint_every", 1 if self.checkpoint_every is None else self.checkpoint_every, 1),
            ("low_rank.rank", 1 if self.low_rank.rank is None else self.low_rank.rank, 1),
        ):  # fmt: skip
            if whole < least:
                raise UserError(f"--{flag} expects at least {least}, but got {whole}")
        for flag, value in (
            ("int8_share", self.int8_share), ("l0.penalty", self.l0.penalty), ("l0.learning_rate", self.l0.learning_rate),
            ("distill.learning_rate", self.distill.learning_rate),
            ("low_rank.error", 1.0 if self.low_rank.error is None else self.low_rank.error),
        ):  # fmt: skip
            if not (math.isfinite(value) and value > 0):
                raise UserError(f"--{flag} expects a number above 0, but got {value}")
        for flag, value in (
            ("l0.start", self.l0.start), ("low_rank.energy", self.low_rank.energy),
            ("low_rank.params", 0.5 if self.low_rank.params is None else self.low_rank.params),
        ):  # fmt: skip
            if not 0 < value < 1:
                raise UserError(f"--{flag} expects a share above 0 and below 1, but got {value}")
        for name, options in self.model.items():
            _one_of("model", name, ALGORITHMS)
            if not isinstance(options, dict):
                raise UserError(f"--model.{name} expects arguments by name, but got {options!r}")
            if not 1 <= int(options.get("n_envs", 1)) <= 1 << 16:
                raise UserError(f"--model.{name}.n_envs expects 1 to 65536, but got {options['n_envs']}")
        rules = [name for name in ("rank", "params", "error") if getattr(self.low_rank, name) is not None]
        if len(rules) > 1:
            raise UserError(f"--low_rank expects one rule for the rank, but got {' and '.join(rules)}: leave one null")
        if self.latent is not None and not (self.policy or "").endswith(".ckpt"):
            raise UserError("--latent goes with --policy CHECKPOINT.ckpt, whose decoder turns it into a policy")
        if self.policy is not None and self.reference is not None:
            raise UserError(
                "--reference measures a policy that is trained here; with --policy that one is the measure: drop one"
            )
        if self.normalization is not None and not (self.policy or self.reference or "").endswith(".zip"):
            raise UserError("--normalization goes with a Stable-Baselines3 zip in --policy or --reference")
        if self.activations and not (self.policy and self.has("int8")):
            raise UserError(
                "--activations rounds what flows between layers, which a Stable-Baselines3 network cannot: it goes with "
                "--policy and a --method that has int8"
            )
        self.ramp.check()


def _at_most(flag: str, value: int, most: int) -> None:
    if value > most:
        raise UserError(f"--{flag} expects at most {most}, but got {value}")


def _one_of(flag: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UserError(f"--{flag} expects one of {', '.join(known)}, but got {value!r}." + nearest(value, known))
