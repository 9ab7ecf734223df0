"""Which loggers a command has. Imports nothing heavy."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from lightning_pz.common.checks import check_extra, one_of
from lightning_pz.common.errors import UserError

LOGGERS = ("tensorboard", "csv", "wandb", "mlflow")
PROJECT = "lightning_pz"
"""What runs belong to in Weights & Biases, and the experiment in MLflow."""
MLFLOW_FILE = "mlflow.db"
"""MLflow's store in the folder of all runs, unless the environment names another."""
LOGGER_HELP = (
    "Where numbers go while a run runs, joined by commas: tensorboard, csv (metrics.csv), wandb (WANDB_MODE=offline keeps it on "
    "this machine), mlflow (MLFLOW_TRACKING_URI, or LOGS/mlflow.db). Results do not depend on it."
)


@dataclass(frozen=True)
class Loggers:
    """The loggers of a command.

    Args:
        names: Some of `LOGGERS`.
        logs: Folder of all runs; a run is called after its place below it.
    """

    names: tuple[str, ...] = ("tensorboard",)
    logs: str = "logs"


def read_loggers(given: str, logs: str) -> Loggers:
    """Return the loggers that `--logger` asks for; `UserError` for a word that is none of them, or one that comes twice."""
    names = tuple(given.split(","))
    for name in names:
        one_of("logger", name, LOGGERS)
    if len(set(names)) < len(names):
        raise UserError(f"--logger expects different loggers joined by commas, but got {given!r}")
    return Loggers(names, logs)


def check_loggers(loggers: Loggers) -> None:
    """Raise `UserError` for a package that is missing, or Weights & Biases without an account."""
    for name in ("wandb", "mlflow"):
        if name in loggers.names:
            check_extra(name, name, f"--logger {name}")
    if "wandb" in loggers.names:
        import wandb

        # As WANDB_MODE or `wandb offline` have it.
        if wandb.setup().settings.mode == "online" and not wandb.login(prompt=False):
            raise UserError(
                "--logger wandb finds no key of an account: run `wandb login`, set WANDB_API_KEY, or keep the run on this "
                "machine with WANDB_MODE=offline"
            )


def look_command(loggers: Loggers, folder: Path) -> str:
    """Return what shows the curves of the runs below a folder: a command, or else where they are."""
    if "tensorboard" in loggers.names:
        return shlex.join(["tensorboard", "--logdir", str(folder)])
    if "mlflow" in loggers.names:
        store = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path(loggers.logs) / MLFLOW_FILE}"
        return shlex.join(["mlflow", "ui", "--backend-store-uri", store])
    if "wandb" in loggers.names:
        return f"the project {PROJECT} of Weights & Biases; `wandb sync` uploads what was kept on this machine"
    return f"{folder / '**' / 'metrics.csv'}"


class ChoosesLoggers:
    """Settings that say, among other things, where numbers go."""

    logger: str
    logs: str

    @property
    def loggers(self) -> Loggers:
        """Where numbers go; `UserError` for a logger that there is not."""
        return read_loggers(self.logger, self.logs)
