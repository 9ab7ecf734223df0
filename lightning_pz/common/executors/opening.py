"""Opens the executor of an engine, and refuses early what cannot be opened. Imports no engine before it is used."""

from __future__ import annotations

import contextlib
import importlib
import re
import shutil
import socket
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from lightning_pz.common.checks import check_extra
from lightning_pz.common.errors import UserError
from lightning_pz.common.executors.settings import Engine

PATIENCE = 10.0
"""Seconds in which a running cluster must answer."""
_PACKAGES = {"dask": ("dask", "distributed"), "slurm": ("submitit",), "ray": ("ray",)}
_ADAPTERS = {
    "local": ("local_pool", "open_local"), "dask": ("dask_cluster", "open_dask"), "slurm": ("slurm_array", "open_slurm"),
    "ray": ("ray_tasks", "open_ray"),
}  # fmt: skip


def check_engine(engine: Engine) -> None:
    """Raise `UserError` for an engine that cannot be opened: a missing extra, no Slurm here, or no answer in ten seconds."""
    if engine.kind in _PACKAGES:
        check_extra(_PACKAGES[engine.kind], engine.kind, f"--on {engine.kind}")
    if engine.on == "slurm" and (missing := [name for name in ("sbatch", "srun", "sacct") if not shutil.which(name)]):
        raise UserError(
            f"--on slurm needs Slurm's commands, but there is no {' and no '.join(missing)} on this machine: run the command "
            "on a login node of the cluster, or try --on slurm:local here"
        )
    if place := re.fullmatch(r"(?:\w+://)?\[?([^\[\]/]+?)\]?:(\d+)/?", engine.address):
        host, port = place[1], int(place[2])
        try:
            socket.create_connection((host, port), timeout=PATIENCE).close()
        except (OSError, OverflowError) as error:
            raise UserError(
                f"--on {engine.on}: nothing answers at {host}, port {port} ({error}): start the {_cluster(engine)} there, or give "
                "the address that it printed when it started"
            ) from error
    elif engine.address not in ("", "local", "auto"):
        example = "dask:tcp://head:8786" if engine.kind == "dask" else "ray:auto or ray:head:6379"
        raise UserError(f"--on expects an address with a port, such as {example}, but got {engine.on!r}")


@contextlib.contextmanager
def open_executor(engine: Engine, folder: Path) -> Iterator[Executor]:
    """Give an executor of one-thread workers; `folder`, on a file system that all share, takes the files of Slurm's jobs.

    Raises as `check_engine`. An error in the block ends what still runs, where the engine was started here.
    """
    check_engine(engine)
    module, name = _ADAPTERS[engine.kind]
    opened: Any = getattr(importlib.import_module(f"lightning_pz.common.executors.{module}"), name)
    with opened(engine, folder) as executor:
        yield executor


def _cluster(engine: Engine) -> str:
    return "scheduler" if engine.kind == "dask" else "cluster"
