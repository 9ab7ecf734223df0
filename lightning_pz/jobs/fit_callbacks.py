"""Callbacks of a fit: TensorBoard's HPARAMS, the history of FVU, checkpoints that survive a moved folder."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger


class LogHyperparameters(L.Callback):
    """Fills TensorBoard's HPARAMS tab: the settings, with the metric `val_fvu`, which training logs."""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the settings with the name of their metric; the metric's own curve stays untouched."""
        logger = next((log for log in trainer.loggers if isinstance(log, TensorBoardLogger)), None)
        if logger is None or not trainer.is_global_zero:
            return
        from torch.utils.tensorboard.summary import hparams

        description, data = pl_module.hparams["description"], trainer.datamodule  # type: ignore[attr-defined]
        settings = {k: v for k, v in pl_module.hparams.items() if k not in ("description", "_instantiator")} | {
            "env": description["env_name"], "policy": description["policy"], "pool_size": len(data.opened),
            "batch_size": data.batch_size, "states_per_step": data.states_per_step, "seed": data.seed,
        }  # fmt: skip
        plain = {k: v if isinstance(v, int | float | str | bool) else str(v) for k, v in settings.items()}
        for summary in hparams(plain, {"val_fvu": 0.0}):
            logger.experiment.file_writer.add_summary(summary)


class LetInterrupts(L.Callback):
    """Lets a held Ctrl-C in between two batches, where no logger, loader or file is in the midst of something."""

    def __init__(self, let_in: Callable[[], None]) -> None:
        self.let_in = let_in

    def on_train_batch_start(self, *_: Any) -> None:
        """End a training that is to end, before its next step."""
        self.let_in()

    def on_validation_batch_start(self, *_: Any) -> None:
        """End a training that is to end, in its validation."""
        self.let_in()


class History(L.Callback):
    """Keeps (step, held-out FVU, training FVU) at each validation, and the speed; survives a resume."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, float, float]] = []
        self._start = 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock, and make what dropout draws a function of (seed, epoch), so that resume equals straight."""
        seed = trainer.datamodule.seed  # type: ignore[attr-defined]
        torch.manual_seed(seed * 1_000_003 + trainer.current_epoch)
        self._start = time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log the speed of the epoch at its last step, before validation begins."""
        if batch_idx + 1 == trainer.num_training_batches:
            seconds = time.perf_counter() - self._start
            rate = (batch_idx + 1) / seconds
            policies = rate * len(batch.fingerprints) * trainer.world_size
            pl_module.log_dict({"steps_per_second": rate, "policies_per_second": policies})

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the FVU of this validation."""
        if not trainer.sanity_checking:
            metrics = trainer.callback_metrics
            self.rows.append((trainer.global_step, float(metrics["val_fvu"]), float(metrics["train_fvu"])))

    def state_dict(self) -> dict[str, Any]:
        return {"rows": [list(row) for row in self.rows]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = [(int(step), val, train) for step, val, train in state_dict["rows"]]


class TrainingTime(L.Callback):
    """Counts the seconds of training, over resumes; no Timer of Lightning's, beside which `--trainer.max_time` would not count."""

    def __init__(self) -> None:
        self._before, self._start = 0.0, math.nan

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin to count."""
        self._start = time.monotonic()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop counting."""
        self._before, self._start = self.time_elapsed(), math.nan

    def time_elapsed(self) -> float:
        """Return the seconds so far."""
        running = 0.0 if math.isnan(self._start) else time.monotonic() - self._start
        return self._before + running

    def state_dict(self) -> dict[str, Any]:
        return {"time_elapsed": {"train": self.time_elapsed()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._before = float(state_dict["time_elapsed"]["train"])


class BestCheckpoint(ModelCheckpoint):
    """Lightning's ModelCheckpoint, which finds its files again after a run folder was moved.

    Without it the best score would be forgotten, and the first validation of a resumed run would replace best.ckpt.
    """

    @property
    def state_key(self) -> str:
        """The key under which checkpoints keep its state: Lightning's own, so that older ones are read."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Read the state with all paths below the present run folder."""

        def here(path: str) -> str:
            return str(Path(str(self.dirpath)) / Path(path).name) if path else path

        paths = {key: here(state_dict[key]) for key in ("best_model_path", "last_model_path", "kth_best_model_path")}
        models = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **paths, "dirpath": self.dirpath, "best_k_models": models})
