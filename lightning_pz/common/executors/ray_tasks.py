"""Pieces on Ray: an instance started here, or a cluster that runs elsewhere. Needs the extra `ray`."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

# Read when Ray is imported: no report of usage leaves this machine.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray

from lightning_pz.common.errors import UserError
from lightning_pz.common.executors.relayed import RelayedExecutor
from lightning_pz.common.executors.settings import Engine
from lightning_pz.common.processes import ENDING, available_cores


@contextlib.contextmanager
def open_ray(engine: Engine, folder: Path) -> Iterator[Executor]:
    """Give an executor of Ray's tasks, of one CPU each, which are never tried again; what is started here ends with the block."""
    own: dict[str, Any] = {"num_cpus": engine.workers or available_cores(), "include_dashboard": False}
    try:
        with _signals_kept(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.init(
                address=engine.address or "local", log_to_driver=False, logging_level=logging.CRITICAL,
                **({} if engine.address else own),
            )  # fmt: skip
    except (ConnectionError, RuntimeError, ValueError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"--on {engine.on}: no Ray cluster answers ({first}): start one by ray start --head") from error
    try:
        task = ray.remote(_run).options(num_cpus=1, max_retries=0)
        executor = RelayedExecutor(lambda call, end: _start(task, call, end), _cancel)
        try:
            yield executor
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise
        executor.shutdown(wait=True)
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Give signals back to who had them: Ray would end this process at a SIGTERM."""
    is_main = threading.current_thread() is threading.main_thread()
    before = {one: signal.getsignal(one) for one in ENDING} if is_main else {}
    yield
    for one, handler in before.items():
        if handler is not None:
            signal.signal(one, handler)


def _run(call: Callable[[], Any]) -> Any:
    return call()


def _start(task: Any, call: Callable[[], Any], end: Callable[[Any, BaseException | None], None]) -> Any:
    reference = task.remote(call)

    def pass_on(done: Any) -> None:
        error = done.exception()
        end(None if error is not None else done.result(), error)

    reference.future().add_done_callback(pass_on)
    return reference


def _cancel(references: list[Any]) -> None:
    for reference in references:
        with contextlib.suppress(Exception):
            ray.cancel(reference)
