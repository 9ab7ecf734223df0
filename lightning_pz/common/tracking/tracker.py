"""Hands numbers and figures of a run to its loggers, which a Ctrl-C cannot leave waiting for themselves."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from matplotlib.figure import Figure
from matplotlib.image import imread

from lightning_pz.common.files import replacing
from lightning_pz.common.held_interrupts import held_interrupts
from lightning_pz.common.plotting import drawn
from lightning_pz.common.tracking.run_loggers import make_loggers
from lightning_pz.common.tracking.settings import Loggers


class Tracker:
    """The loggers of a run, behind one call for each kind of thing.

    An interruption finds it between two writes: TensorBoard hands events to a thread through a queue, and a
    `KeyboardInterrupt` inside that queue loses its wake-up call, so that closing the writer waits for two minutes.
    """

    def __init__(self, loggers: Iterable[Logger]) -> None:
        self._loggers = list(loggers)

    @classmethod
    def of(
        cls,
        loggers: Loggers,
        folder: Path,
        purge_step: int | None = None,
        settings: Mapping[str, Any] | None = None,
        final: Path | None = None,
    ) -> Tracker:
        """Return the tracker of a run folder; see `make_loggers`."""
        with held_interrupts():
            return cls(make_loggers(loggers, folder, purge_step, settings, final))

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        self.close("success" if kind is None else "failed")

    def log(self, values: Mapping[str, float | int], step: int) -> None:
        """Add one row of numbers; those that are not finite are left out."""
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        if not finite:
            return
        with held_interrupts():
            for logger in self._loggers:
                # MLflow's names have no colon, which a task of the user's own has.
                plain = isinstance(logger, MLFlowLogger)
                logger.log_metrics(
                    {name.replace(":", "."): value for name, value in finite.items()} if plain else finite, step
                )

    def figure(self, name: str, figure: Figure, step: int, folder: Path | None = None) -> None:
        """Add a figure, drawn once for all loggers and for NAME.png in a folder, if one is given; a CSV file has none."""
        if folder is None and all(isinstance(logger, CSVLogger) for logger in self._loggers):
            return
        content = drawn(figure)
        if folder is not None:
            with replacing(folder / f"{name}.png") as temporary:
                temporary.write_bytes(content)
        image = (imread(io.BytesIO(content), format="png")[..., :3] * 255).round().astype(np.uint8)
        with held_interrupts():
            for logger in self._loggers:
                if isinstance(logger, TensorBoardLogger):
                    logger.experiment.add_image(name, image, step, dataformats="HWC")
                elif isinstance(logger, WandbLogger):
                    import wandb

                    logger.log_metrics({f"figures/{name}": wandb.Image(image)}, step)  # type: ignore[dict-item]
                elif isinstance(logger, MLFlowLogger):
                    logger.experiment.log_image(str(logger.run_id), image, f"figures/{name}.png")

    def flush(self) -> None:
        """Write what is waiting."""
        with held_interrupts():
            for logger in self._loggers:
                if isinstance(logger, TensorBoardLogger):
                    logger.experiment.flush()

    def close(self, status: str = "success") -> None:
        """Write what is left and end the runs of the services."""
        with held_interrupts():
            for logger in self._loggers:
                if isinstance(logger, TensorBoardLogger):
                    logger.experiment.close()  # `finalize` would write a file of no settings
                else:
                    logger.finalize(status)
                if isinstance(logger, WandbLogger):
                    logger.experiment.finish(exit_code=int(status != "success"))
