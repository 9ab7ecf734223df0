"""Opens the executor of an engine."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path

from lightning_pz.common.executors.settings import Engine
from lightning_pz.common.processes import available_cores


@contextlib.contextmanager
def open_executor(engine: Engine, folder: Path) -> Iterator[Executor]:
    """Give an executor; `folder`, on a file system that all workers share, takes the files of engines that need some."""
    with ProcessPoolExecutor(engine.workers or available_cores(), multiprocessing.get_context("spawn")) as executor:
        yield executor
