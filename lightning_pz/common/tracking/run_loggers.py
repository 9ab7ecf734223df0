"""Lightning's loggers of one run folder. A run that is resumed goes on in the same run of each."""

from __future__ import annotations

import contextlib
import csv
import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from lightning_pz.common.errors import UserError
from lightning_pz.common.files import alone, write_text
from lightning_pz.common.tracking.settings import MLFLOW_FILE, PROJECT, Loggers

_RUNS = "runs_elsewhere.json"
"""File in a run folder that names its run in Weights & Biases and MLflow."""


def make_loggers(
    loggers: Loggers,
    folder: Path,
    purge_step: int | None = None,
    settings: Mapping[str, Any] | None = None,
    final: Path | None = None,
) -> list[Logger]:
    """Return the loggers of a run folder; what an interrupted sitting wrote from `purge_step` on does not count.

    TensorBoard's events and `metrics.csv` lie in the folder itself, and so do the files of Weights & Biases. The services, by
    which runs are compared, get the settings of a new run: those of its config.yaml, if none are given. `final` is where a
    temporary folder will lie.

    Raises:
        UserError: A service that cannot be reached, or refuses.
    """
    # `folder.parent / "" / folder.name` is the folder.
    folder.mkdir(parents=True, exist_ok=True)
    place: dict[str, Any] = {"save_dir": folder.parent, "name": "", "version": folder.name}
    made: list[Logger] = []
    for name in loggers.names:
        if name == "tensorboard":
            made.append(TensorBoardLogger(**place, default_hp_metric=False, purge_step=purge_step))
        elif name == "csv":
            made.append(_KeptCSVLogger(**place, purge_step=purge_step))
        else:
            made.append(_service(name, folder, Path(loggers.logs), final or folder, settings))
    return made


def _service(name: str, folder: Path, logs: Path, final: Path, settings: Mapping[str, Any] | None) -> Logger:
    known, title = _known(folder), _title(final, logs)
    with _explained(name):
        if name == "wandb":
            logger, run = _wandb(folder, title, known.get(name))
        else:
            logger, run = _mlflow(logs, title, known.get(name))
        if name not in known:
            logger.log_hyperparams(dict(_settings(folder) if settings is None else settings))
            write_text(folder / _RUNS, json.dumps(known | {name: run}, indent=2) + "\n")
    return logger


class _KeptCSVLogger(CSVLogger):
    """Lightning's CSVLogger, which begins anew in a folder that holds a file; here a resumed run keeps its rows."""

    def __init__(self, purge_step: int | None, **place: Any) -> None:
        # Each row at once: the steps of a search would hardly ever be a multiple of some number.
        super().__init__(**place, flush_logs_every_n_steps=1)
        self.purge_step = purge_step

    @property
    def experiment(self) -> Any:
        """The writer, which begins with the rows that stay."""
        if self._experiment is None:
            path = Path(self.log_dir) / "metrics.csv"
            kept = list(_rows(path, self.purge_step)) if path.is_file() else []
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=r"Experiment logs directory .* exists")
                writer: Any = super().experiment
            for row in kept:
                writer.log_metrics({key: value for key, value in row.items() if key != "step"}, int(row["step"]))
            writer.save()
        return super().experiment


def _rows(path: Path, purge_step: int | None) -> Iterator[dict[str, float]]:
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if purge_step is None or int(row["step"]) < purge_step:
                yield {key: float(value) for key, value in row.items() if value}


def _wandb(folder: Path, title: str, known: str | None) -> tuple[Logger, str]:
    import wandb

    settings = wandb.Settings(quiet=True, silent=True, console="off")
    logger = WandbLogger(
        name=title, save_dir=folder, project=PROJECT, id=known, group=title.rpartition("/")[0], settings=settings
    )
    # Lightning passes a setting that is no more, and a warning with it.
    getattr(logger, "_wandb_init", {}).pop("anonymous", None)
    return logger, str(logger.experiment.id)


def _mlflow(logs: Path, title: str, known: str | None) -> tuple[Logger, str]:
    # The last is Lightning's remark that an experiment is made.
    for name in ("mlflow", "alembic", "lightning.pytorch.loggers.mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    place = logs.resolve() / MLFLOW_FILE
    local: dict[str, Any] = {}
    # Not what `mlflow` itself says, which is the store of this process's last run.
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        place.parent.mkdir(parents=True, exist_ok=True)
        uri, local = (
            f"sqlite:///{place}?timeout=60",
            {"artifact_location": (place.parent / "mlflow-artifacts").as_uri()},
        )
    # Tables and experiment are made by one process, whichever comes first.
    with alone(place) if local else contextlib.nullcontext():
        logger = MLFlowLogger(PROJECT, run_name=title, tracking_uri=uri, run_id=known, **local)
        return logger, str(logger.run_id)


def _title(folder: Path, logs: Path) -> str:
    """Return what a run is called elsewhere: its place below the folder of logs."""
    whole, above = folder.resolve(), logs.resolve()
    return whole.relative_to(above).as_posix() if whole.is_relative_to(above) else whole.name


def _known(folder: Path) -> dict[str, str]:
    path = folder / _RUNS
    return json.loads(path.read_text()) if path.is_file() else {}


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / "config.yaml"
    return yaml.safe_load(path.read_text()) if path.is_file() else {}


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Say in a sentence what a service answers that cannot be reached, or refuses."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        where = {"wandb": "WANDB_MODE=offline keeps the run on this machine", "mlflow": "see MLFLOW_TRACKING_URI"}[name]
        raise UserError(f"--logger {name} cannot begin: {' '.join(str(error).split())} ({where})") from error
