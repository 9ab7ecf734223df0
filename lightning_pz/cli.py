"""The command line of `fit`: a LightningCLI that knows presets, run folders and what a person wants to see."""

from __future__ import annotations

import logging
import os
import re
import warnings
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger

from lightning_pz.autoencoder.module import BehaviorAutoencoder
from lightning_pz.callbacks import History, Hyperparameters
from lightning_pz.console import is_terminal
from lightning_pz.errors import UserError
from lightning_pz.pool.datamodule import PolicyPoolDataModule
from lightning_pz.presets import EnvConfig, PolicyConfig
from lightning_pz.probes.callback import ProbeCallback

_RUN_VARIABLE = "LIGHTNING_PZ_RUN"
"""Tells the further processes of a DDP run which folder the first one chose."""


class FitCLI(LightningCLI):
    """Parses, builds trainer, model and data, and chooses the run folder. Runs nothing."""

    def __init__(self, arguments: list[str]) -> None:
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
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add presets, permanent callbacks and run folders to what LightningCLI knows."""
        parser.add_argument("--env", type=EnvConfig, help="The environment; a preset or Gymnasium id.")
        parser.add_argument("--policy", type=PolicyConfig, help="The policy network; a preset.")
        parser.add_argument("--logs", type=str, default="logs", help="Folder for pools and runs.")
        parser.add_argument(
            "--run_name", type=str | None, default=None, help="Name of the run folder; numbered if not given."
        )
        parser.add_argument(
            "--ckpt_path",
            type=str | None,
            default=None,
            help="Go on from this checkpoint in its run folder; `last` finds the newest run of these settings.",
        )
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.add_lightning_class_args(EarlyStopping, "early_stopping")
        parser.add_lightning_class_args(ProbeCallback, "probes")
        parser.set_defaults({
            "checkpoint.monitor": "val_fvu", "checkpoint.filename": "best", "checkpoint.enable_version_counter": False,
            "checkpoint.save_on_train_epoch_end": False,
            "early_stopping.monitor": "val_fvu", "early_stopping.check_on_train_epoch_end": False,
        })  # fmt: skip
        for name in ("env.name", "env.id", "env.horizon", "policy.name", "policy.hidden", "policy.activation", "logs"):
            parser.link_arguments(name, f"data.{name}")
        parser.link_arguments("seed_everything", "data.seed", compute_fn=lambda seed: int(seed or 0))
        parser.link_arguments(
            ("model.encoder", "model.loss"), "data.with_params", compute_fn=lambda *chosen: "parameters" in chosen
        )
        parser.link_arguments("model.loss", "data.with_visited", compute_fn=lambda loss: loss == "behavior_visited")

    def before_instantiate_classes(self) -> None:
        """Choose the run folder and save the configuration as it was given."""
        config = self.config
        base = f"{config.policy.name}-k{config.model.latent_dim}-seed{config.seed_everything}"
        parent = Path(config.logs) / "fit" / config.env.name
        if config.ckpt_path:
            self.resume_from = find_checkpoint(config.ckpt_path, parent, base)
            self.run_folder = self.resume_from.parent.parent
        elif _RUN_VARIABLE in os.environ and "LOCAL_RANK" in os.environ:
            self.run_folder = Path(os.environ[_RUN_VARIABLE])
        else:
            self.run_folder = new_run_folder(parent, base, config.run_name)
        os.environ[_RUN_VARIABLE] = str(self.run_folder)
        config.checkpoint.dirpath = str(self.run_folder / "checkpoints")
        if config.trainer.enable_progress_bar is None:
            config.trainer.enable_progress_bar = is_terminal()
        if config.trainer.max_steps in (-1, None) and config.trainer.max_epochs in (-1, None):
            raise UserError("--trainer.max_steps expects a number of steps above 0")

    def save_config(self) -> None:
        """Write config.yaml, from which the run can be repeated, unless it is a resumed run's own."""
        path = self.run_folder / "config.yaml"
        if path.exists():
            return
        self.run_folder.mkdir(parents=True, exist_ok=True)
        config = self.config.clone()
        config.ckpt_path = config.run_name = config.checkpoint.dirpath = config.trainer.enable_progress_bar = None
        self.parser.save(config, path, skip_none=False, overwrite=True)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Log to TensorBoard in the run folder, and add the callbacks that are always there."""
        logger = TensorBoardLogger(
            self.run_folder.parent, name="", version=self.run_folder.name, default_hp_metric=False
        )
        self.history = History()
        return super().instantiate_trainer(
            logger=logger, use_distributed_sampler=False, callbacks=[Hyperparameters(), self.history], **kwargs
        )


def new_run_folder(parent: Path, base: str, name: str | None) -> Path:
    """Return a run folder that does not exist yet.

    Raises:
        UserError: A name was given and is taken.
    """
    if name is not None:
        if (parent / name).exists():
            raise UserError(f"--run_name {name} is taken: {parent / name} exists; choose another name")
        return parent / name
    taken = [int(m.group(1)) for p in parent.glob(f"{base}-*") if (m := re.fullmatch(rf"{base}-(\d+)", p.name))]
    return parent / f"{base}-{max(taken, default=0) + 1:03d}"


def find_checkpoint(given: str, parent: Path, base: str) -> Path:
    """Return the checkpoint to go on from.

    Raises:
        UserError: There is none.
    """
    if given != "last":
        path = Path(given)
        if not path.is_file() or path.parent.name != "checkpoints":
            raise UserError(
                f"--ckpt_path expects `last` or RUN/checkpoints/last.ckpt of an earlier run, but got {given}"
            )
        return path
    found = list(parent.glob(f"{base}-*/checkpoints/last.ckpt"))
    if not found:
        raise UserError(
            f"--ckpt_path last expects an earlier run {base}-* in {parent}, but there is none to go on from"
        )
    return max(found, key=lambda path: path.stat().st_mtime)


def quiet_lightning() -> None:
    """Keep from the terminal what Lightning says on every start and a user of this package cannot act on."""
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
