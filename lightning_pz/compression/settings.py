"""Every setting of a compression, as dataclasses for the command line. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from lightning_pz.common.checks import at_least, one_of, positive, seeds, shares
from lightning_pz.common.errors import UserError, nearest
from lightning_pz.common.executors.settings import ChoosesEngine, SlurmSettings
from lightning_pz.common.tracking.settings import ChoosesLoggers
from lightning_pz.compression.methods.schedule import DISTRIBUTIONS, Distribution, Ramp
from lightning_pz.compression.model_words import check_learner
from lightning_pz.compression.part_settings import (
    DistillSettings,
    Int4Settings,
    Int8Settings,
    L0Settings,
    LowRankSettings,
)
from lightning_pz.compression.seeds import check_measured

PARTS = ("prune", "l0", "low_rank", "int8", "int4")
"""What a method may have, in the order of runs and their names: in any order they do the same."""
Sb3Algorithm = Literal["sac", "td3", "ppo", "dqn"]
SB3_ALGORITHMS: tuple[str, ...] = get_args(Sb3Algorithm)
FILE_FORMATS = ("lpz", "onnx", "c")
RESUME = "resume"
"""Folder in a run's folder that holds the state of an unfinished training."""


@dataclass(frozen=True)
class RunSettings(ChoosesEngine, ChoosesLoggers):
    """How many runs, where they are done, and where they go.

    Args:
        seeds: Runs, with seeds from --seed on.
        on: Where runs are done: `local` processes; `dask` or `dask:ADDRESS` of a scheduler; `slurm`; `ray` or `ray:ADDRESS`,
            such as `ray:auto`; `slurm:local` tries out what `slurm` does on this machine. Results are the same.
        workers: Runs side by side: as many as there are cores and runs if null, on `slurm` all of them; a Dask or Ray cluster
            with an address has workers of its own.
        slurm: What each run asks of Slurm; with --checkpoint_every, a run that is queued again goes on where it was.
        format: Files of the policy, joined by commas: lpz, which is always there, onnx, and c, a C99 header.
        logs: Folder for runs, on a file system that all workers share.
        logger: Where numbers go while a run runs, joined by commas: tensorboard, csv, wandb, mlflow.
        progress: Whether to draw a progress bar; on a terminal only if null.
    """

    seeds: int = 1
    on: str = "local"
    workers: int | None = None
    slurm: SlurmSettings = field(default_factory=SlurmSettings)
    format: str = "lpz,onnx"
    logs: str = "logs"
    logger: str = "tensorboard"
    progress: bool | None = None

    def __post_init__(self) -> None:
        at_least(1, {"seeds": self.seeds})
        for name in self.formats:
            one_of("format", name, FILE_FORMATS)
        if len(set(self.formats)) < len(self.formats):
            raise UserError(f"--format expects different formats joined by commas, but got {self.format!r}")
        _ = self.loggers
        super().__post_init__()

    @property
    def formats(self) -> tuple[str, ...]:
        """The formats, one by one."""
        return tuple(self.format.split(","))


@dataclass(frozen=True)
class CompressSettings:
    """One compression: the policy, the method and the training.

    Args:
        algorithm: Stable-Baselines3's; read from the file with --policy.
        method: `none`, or parts joined by +: prune, int8 or int4, l0, low_rank.
        sparsity: Share of the weights that pruning removes, 0 <= sparsity < 1.
        distribution: How pruned layers share it.
        steps: Environment steps of the training, those of int8 or int4 apart; not used with --policy.
        int8_share: Steps of int8 or int4 training, as a share of the others.
        activations: Whether activations are rounded too, to int8; with --policy and int8 or int4 only.
        policy: A file with a policy to compress: policy.npz, a Stable-Baselines3 zip, or a checkpoint with --latent.
        latent: The latent to decode, k numbers, if --policy is a checkpoint.
        normalization: The file of `VecNormalize` statistics that belongs to the zip in --policy or --reference: a pickle,
            so one that you trust.
        reference: A Stable-Baselines3 zip of the dense policy, to measure a trained one against.
        seed: Of everything random.
        episodes: Fresh episodes on which the last policy is measured.
        checkpoint_every: Environment steps between saved states of a training, at which episodes begin anew; null for none.
        ramp: When pruning happens, and between which shares of the steps the L0 penalty is on.
        l0: Gates.
        int8: Scales.
        int4: Scales.
        low_rank: Ranks.
        distill: Used with --policy.
        model: Arguments of the Stable-Baselines3 class, by algorithm.
    """

    algorithm: Sb3Algorithm = "sac"
    method: str = "prune+int8"
    sparsity: float = 0.95
    distribution: Distribution = "erk"
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
    int8: Int8Settings = field(default_factory=Int8Settings)
    int4: Int4Settings = field(default_factory=Int4Settings)
    low_rank: LowRankSettings = field(default_factory=LowRankSettings)
    distill: DistillSettings = field(default_factory=DistillSettings)
    model: dict[str, dict[str, Any]] = field(default_factory=dict)

    def has(self, part: str) -> bool:
        """Return whether the method has a part."""
        return part in self.method.split("+")

    @property
    def ordered_method(self) -> str:
        """The method with its parts in the order of `PARTS`."""
        return "+".join(filter(self.has, PARTS)) or "none"

    @property
    def bits(self) -> int | None:
        """Bits of a weight's level, 8 or 4; None where weights stay floats."""
        return 8 if self.has("int8") else 4 if self.has("int4") else None

    def per_channel(self, bits: int) -> bool:
        """Return whether each output channel has a scale of its own where weights have 8 or 4 bits."""
        return self.int4.per_channel if bits == 4 else self.int8.per_channel

    def base_steps(self) -> int:
        """Return the steps before those of int8 or int4: environment steps, with --policy gradient steps."""
        return self.distill.steps if self.policy else self.steps

    def total_steps(self) -> int:
        """Return all steps, those of int8 or int4 included."""
        return self.base_steps() + (round(self.int8_share * self.base_steps()) if self.bits else 0)

    def __post_init__(self) -> None:
        one_of("algorithm", self.algorithm, SB3_ALGORITHMS)
        one_of("distribution", self.distribution, DISTRIBUTIONS)
        self._check_method()
        shares({"sparsity": self.sparsity})
        at_least(1, {"steps": self.steps})
        at_least(1, {} if self.checkpoint_every is None else {"checkpoint_every": self.checkpoint_every})
        positive({"int8_share": self.int8_share})
        seeds({"seed": self.seed})
        check_measured("episodes", self.episodes, least=2)
        for name, options in self.model.items():
            one_of("model", name, SB3_ALGORITHMS)
            if not isinstance(options, dict):
                raise UserError(f"--model.{name} expects arguments by name, but got {options!r}")
            check_learner(name, options)
        self._check_files()

    def _check_method(self) -> None:
        names = self.method.split("+")
        for name in names:
            if name not in (known := (*PARTS, "none")):
                expected = f"none, or {', '.join(PARTS)} joined by +, but got {self.method!r}."
                raise UserError(f"--method expects {expected}{nearest(name, known)}")
        if len(set(names)) < len(names) or ("none" in names and len(names) > 1):
            raise UserError(f"--method expects none, or different parts joined by +, but got {self.method!r}")
        if {"prune", "l0"} <= set(names):
            raise UserError("--method expects prune or l0, not both, for each decides which weights go: drop one")
        if {"int8", "int4"} <= set(names):
            raise UserError("--method expects int8 or int4, not both, for a weight has 8 bits or 4: drop one")
        for part, is_default in (("int8", self.int8 == Int8Settings()), ("int4", self.int4 == Int4Settings())):
            if not is_default and not self.has(part):
                raise UserError(f"--{part}.per_channel goes with a --method that has {part}, but got {self.method!r}")
        if self.activations and not (self.policy and self.bits):
            raise UserError(
                "--activations rounds what flows between layers, which a Stable-Baselines3 network cannot: it goes with "
                "--policy and a --method that has int8 or int4"
            )

    def _check_files(self) -> None:
        if self.latent is not None and not (self.policy or "").endswith(".ckpt"):
            raise UserError("--latent goes with --policy CHECKPOINT.ckpt, whose decoder turns it into a policy")
        if self.policy is not None and self.reference is not None:
            raise UserError(
                "--reference measures a policy that is trained here; with --policy that one is the measure: drop one"
            )
        if self.policy is not None and self.checkpoint_every is not None:
            raise UserError("--checkpoint_every saves states of a training, but with --policy there is none: drop one")
        if self.normalization is not None and not (self.policy or self.reference or "").endswith(".zip"):
            raise UserError("--normalization goes with a Stable-Baselines3 zip in --policy or --reference")
