"""The command line of `fit`: a LightningCLI with presets and run folders that prints little."""

from __future__ import annotations

import itertools
import logging
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from lightning_pz.autoencoder.module import BehaviorAutoencoder
from lightning_pz.common.command_line import CommandParser
from lightning_pz.common.console import is_terminal
from lightning_pz.common.errors import UserError
from lightning_pz.common.files import claim_folder, write_text
from lightning_pz.common.tracking.run_loggers import make_loggers
from lightning_pz.common.tracking.settings import LOGGER_HELP, Loggers, check_loggers, read_loggers
from lightning_pz.common.tracking.tracker import Tracker
from lightning_pz.envs.presets import EnvConfig, PolicyConfig, explain_presets
from lightning_pz.jobs.fit_callbacks import BestCheckpoint, History, LogHyperparameters, TrainingTime
from lightning_pz.jobs.fit_identity import check_pool_words, fit_identity, run_difference, write_identity
from lightning_pz.jobs.fit_settings import check_fit_settings
from lightning_pz.pool.datamodule import PolicyPoolDataModule
from lightning_pz.pool.recipe_identity import known_identity
from lightning_pz.pool.store import read_meta
from lightning_pz.probes.callback import ProbeCallback

_RUN_VARIABLE = "LIGHTNING_PZ_RUN"
"""Environment variable that names the first process's run folder to the further processes of a DDP run."""
_SUBMITTED = "SUBMITIT_EXECUTOR"
"""Environment variable by which submitit tells its jobs; it queues them again itself, so that Lightning must not."""
_OFTEN = (
    "env", "policy", "model.latent_dim", "seed_everything", "decodes", "data.recipe", "data.pool", "model.bottleneck", "model.loss",
    "trainer.max_steps", "trainer.accelerator", "run_name", "ckpt_path", "logs", "config", "help",
)  # fmt: skip


class _Parser(CommandParser, LightningArgumentParser):
    """Lightning's parser with the help and the errors of the other commands."""


class FitCLI(LightningCLI):
    """Parses, builds trainer, model and data, and chooses the run folder. Runs nothing."""

    def __init__(self, arguments: list[str], description: str = "") -> None:
        quiet_lightning()
        self.resume_from: Path | None = None
        self.run_folder = Path()
        super().__init__(
            BehaviorAutoencoder,
            PolicyPoolDataModule,
            run=False,
            args=arguments,
            save_config_callback=None,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            parser_class=_Parser,
            parser_kwargs={"command": "fit", "often": _OFTEN, "description": description},
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add presets, permanent callbacks and run folders to what LightningCLI knows."""
        parser.add_argument("--env", type=EnvConfig)
        parser.add_argument("--policy", type=PolicyConfig)
        explain_presets(parser)
        decodes = (
            "Further sizes of policy (presets, or widths such as 64-64, with commas between them), each of which gets a decoder "
            "from the same latent, trained on the behavior of the pool alone."
        )
        parser.add_argument("--decodes", type=str | None, default=None, help=decodes)
        parser.add_argument("--logs", type=str, default="logs", help="Folder for pools and runs.")
        parser.add_argument("--logger", type=str, default="tensorboard", help=LOGGER_HELP)
        parser.add_argument(
            "--run_name", type=str | None, default=None, help="Name of the run folder; numbered if null."
        )
        resume = (
            "Resume from this checkpoint in its run folder; `last` finds the newest run of these settings. A run of other "
            "settings, environment or pool is refused, for best.ckpt would become a mixture of two; only trainer.max_time "
            "and settings that do not change the result may differ (trainer.accelerator, trainer.enable_progress_bar, "
            "trainer.log_every_n_steps, logger, logs, threads)."
        )
        parser.add_argument("--ckpt_path", type=str | None, default=None, help=resume)
        for kind, key in ((BestCheckpoint, "checkpoint"), (EarlyStopping, "early_stopping"), (ProbeCallback, "probes")):
            parser.add_lightning_class_args(kind, key)
        parser.set_defaults({
            "checkpoint.monitor": "val_fvu", "checkpoint.filename": "best", "checkpoint.enable_version_counter": False,
            "checkpoint.save_on_train_epoch_end": False,
            "early_stopping.monitor": "val_fvu", "early_stopping.check_on_train_epoch_end": False,
        })  # fmt: skip
        cast(CommandParser, parser).explain({
            "seed_everything": "Seed of all that training draws; `true` draws the seed.",
            "trainer.max_steps": "Training steps.",
            "trainer.accelerator": "What computes: cpu, gpu, mps or auto.",
            "config": "YAML file of settings, such as the config.yaml of a run.",
        })  # fmt: skip
        shared = {"env": EnvConfig, "policy": PolicyConfig}
        for name in (
            *(f"{key}.{field.name}" for key, kind in shared.items() for field in fields(kind)),
            "decodes",
            "logs",
        ):
            parser.link_arguments(name, f"data.{name}")
        parser.link_arguments("seed_everything", "data.seed", compute_fn=lambda seed: int(seed or 0))
        parser.link_arguments(
            ("model.encoder", "model.loss"), "data.with_params", compute_fn=lambda *chosen: "parameters" in chosen
        )
        parser.link_arguments("model.loss", "data.with_visited", compute_fn=lambda loss: loss == "behavior_visited")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, and refuse what a fit cannot honor before anything is seeded or made."""
        super().parse_arguments(parser, args)
        check_fit_settings(self.config)
        check_loggers(self.loggers)

    def before_instantiate_classes(self) -> None:
        """Show a progress bar on a terminal, unless the settings say."""
        if self.config.trainer.enable_progress_bar is None:
            self.config.trainer.enable_progress_bar = is_terminal()

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Add the callbacks that are always there; the logger comes with the run folder."""
        self.history, self.time = History(), TrainingTime()
        always = [LogHyperparameters(), self.history, self.time]
        if self.config.trainer.plugins is None and os.environ.get(_SUBMITTED) == "slurm" and SLURMEnvironment.detect():
            kwargs["plugins"] = SLURMEnvironment(auto_requeue=False)
        try:
            return super().instantiate_trainer(logger=False, use_distributed_sampler=False, callbacks=always, **kwargs)
        except (MisconfigurationException, ValueError, TypeError) as error:
            raise UserError(f"--trainer: {' '.join(str(error).split())}") from error

    @property
    def parent(self) -> Path:
        """Folder of the runs on this environment."""
        return Path(self.config.logs) / "fit" / self.config.env.name

    @property
    def base(self) -> str:
        """Start of the names of runs like this one; for people."""
        config = self.config
        return f"{config.policy.name}-k{config.model.latent_dim}-seed{config.seed_everything}"

    def identity(self) -> dict[str, Any]:
        """Return everything that decides the result, before there is a pool."""
        settings, data = dict(yaml.safe_load(self.parser.dump(self.config, skip_none=False))), self.datamodule
        return fit_identity(settings, data.spec.identity(), data.pool_identity(), self.trainer.world_size)

    def check_pool_words(self, arguments: list[str]) -> None:
        """Refuse what the command line says of how a given pool is made, unless the pool says the same."""
        data = self.datamodule
        wanted = {recipe.kind: recipe.identity() for recipe in (data.random, data.grown)}
        for folder in [data.folder, *data.further] if data.given else []:
            made = read_meta(folder)
            is_known = "identity" in made  # else an earlier version made it, and some of its settings are unknown
            check_pool_words(arguments, folder, known_identity(made)["recipe"], wanted, known_only=not is_known)

    def find_run(self) -> None:
        """Find the run to resume, if any; refuse one of other settings, and a new run's name that is taken."""
        config = self.config
        if config.ckpt_path:
            self.resume_from = find_checkpoint(config.ckpt_path, self.parent, self.base, self.identity())
            self.run_folder = self.resume_from.parent.parent
        elif config.run_name is not None:
            _check_free(self.parent / config.run_name)

    def claim_run(self) -> None:
        """Make the folder of a new run, which no other run shares, and point checkpoints to it.

        Only the first process of several makes one; those that it starts read its name from the environment, and
        Lightning sends any others the folder of the checkpoints.
        """
        if self.resume_from is None:
            if _RUN_VARIABLE in os.environ and "LOCAL_RANK" in os.environ:
                self.run_folder = Path(os.environ[_RUN_VARIABLE])
            elif self.trainer.is_global_zero:
                self.run_folder = new_run_folder(self.parent, self.base, self.config.run_name)
        if self.trainer.is_global_zero:
            os.environ[_RUN_VARIABLE] = str(self.run_folder)
        self.trainer.checkpoint_callback.dirpath = os.path.realpath(self.run_folder / "checkpoints")  # type: ignore[union-attr]

    def begin_loggers(self) -> Tracker:
        """Give the trainer the loggers of the run folder, which holds its settings by now; only the first process logs."""
        # Lightning's TensorBoardLogger writes nothing on other processes, and makes nothing there either.
        names = self.loggers.names if self.trainer.is_global_zero else ("tensorboard",)
        purge_step = None
        if self.resume_from is not None:
            purge_step = torch.load(self.resume_from, map_location="cpu", weights_only=True)["global_step"]
        made = make_loggers(Loggers(names, self.config.logs), self.run_folder, purge_step)
        self.trainer.loggers = made
        return Tracker(made)

    @property
    def loggers(self) -> Loggers:
        """Where numbers go."""
        return read_loggers(self.config.logger, self.config.logs)

    def save_config(self) -> None:
        """Write config.yaml, from which the run can be repeated, and identity.json, unless they are there."""
        path = self.run_folder / "config.yaml"
        write_identity(self.run_folder, self.identity())
        if not path.exists():
            config = self.config.clone()
            config.ckpt_path = config.run_name = config.trainer.enable_progress_bar = None
            config.env.kwargs = self.datamodule.spec.arguments  # files by their full path
            write_text(path, self.parser.dump(config, skip_none=False))


def forget_run_folder() -> None:
    """Clear the name of the run folder from the environment, so that no later run in this process takes it."""
    os.environ.pop(_RUN_VARIABLE, None)


def new_run_folder(parent: Path, base: str, name: str | None) -> Path:
    """Make and return a run folder that no other run has, even one that begins now; refuse a taken name."""
    if name is not None:
        if not claim_folder(parent / name):
            _check_free(parent / name)
        return parent / name
    taken = [int(m.group(1)) for p in parent.glob(f"{base}-*") if (m := re.fullmatch(rf"{base}-(\d+)", p.name))]
    numbers = itertools.count(max(taken, default=0) + 1)
    return next(path for number in numbers if claim_folder(path := parent / f"{base}-{number:03d}"))


def _check_free(folder: Path) -> None:
    if folder.exists():
        raise UserError(f"--run_name {folder.name} is taken: {folder} exists; choose another name")


def find_checkpoint(given: str, parent: Path, base: str, identity: Mapping[str, Any]) -> Path:
    """Return the checkpoint to resume from, of a run of this identity: a path, or `last` for the newest."""
    if given != "last":
        path = Path(given)
        if not path.is_file() or path.parent.name != "checkpoints":
            raise UserError(
                f"--ckpt_path expects `last` or RUN/checkpoints/last.ckpt of an earlier run, but got {given}"
            )
        if (told := run_difference(path.parent.parent, identity)) is not None:
            raise UserError(
                f"--ckpt_path {given} belongs to a run of other settings: {told}. Give the settings of that run "
                f"(--config {path.parent.parent / 'config.yaml'}), or leave --ckpt_path out to begin a new run"
            )
        return path
    found = sorted(parent.glob("*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime, reverse=True)
    told = ""
    for path in found:
        difference = run_difference(path.parent.parent, identity)
        if difference is None:
            return path
        told = told or f"; of the newest, {path.parent.parent.name}, {difference}"
    raise UserError(
        f"--ckpt_path last expects an earlier run of these settings in {parent}, such as {base}-001, but there is none to "
        f"resume{told}"
    )


def quiet_lightning() -> None:
    """Silence what Lightning prints on every start and a user of this package cannot act on."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        r".*args parameter is intended to run from within Python.*",  # presets are expanded before it sees them
        r".*does not have many workers.*",  # batches are cut from memory maps: workers only cost
        r".*Checkpoint directory .* exists and is not empty.*",  # a resumed run
        r".*isinstance\(treespec, LeafSpec\).*",  # PyTorch and Lightning among themselves
        r".*`weights_only` was not set.*",
    ):
        warnings.filterwarnings("ignore", message=message)
