"""Runs one after another, or side by side in processes of one thread each."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lightning_pz.common.errors import UserError
from lightning_pz.jobs.finetune_run import Job, Result, run


def one_by_one(todo: list[Job], results: list[Result], bar: tqdm) -> None:
    """Do runs in this process, adding each result as it comes."""
    before = int(bar.n)
    for place, job in enumerate(todo):
        results.append(run(job, partial(_draw, bar, before + place * job.settings.budget)))


def _draw(bar: tqdm, before: int, steps: int) -> None:
    bar.update(before + steps - bar.n)


def side_by_side(todo: list[Job], workers: int, results: list[Result], bar: tqdm) -> None:
    """Do runs in some worker processes, adding each result as it comes.

    Raises:
        UserError: One of the runs could not be done; told after the others have ended.
        KeyboardInterrupt: As it came, after all workers have saved their states.
    """
    context = multiprocessing.get_context("spawn")
    counts, stop = context.Array("q", len(todo)), context.Event()
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    interruptible = signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    initial = (counts, stop, interruptible)
    executor = ProcessPoolExecutor(workers, context, initializer=_begin_worker, initargs=initial)
    pending: set[Future[Result]] = set()
    errors: list[BaseException] = []
    drawn = int(bar.n)
    try:
        with _deaf_to_interrupts():
            pending = {executor.submit(_work, job) for job in todo}
        while pending:
            done, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in done:
                if (error := future.exception()) is not None:
                    errors.append(error)
                else:
                    results.append(future.result())
            _draw(bar, drawn, sum(counts[:]))
    except KeyboardInterrupt:
        # The executor hands out one job more than there are workers, which cannot be canceled any more.
        stop.set()
        for future in pending:
            future.cancel()
        for child in multiprocessing.active_children():
            if child.pid is not None:
                os.kill(child.pid, signal.SIGINT)
        wait(pending, timeout=60)
        raise
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
    results.sort(key=lambda result: str(result.folder))
    if any(result.summary is None for result in results):
        raise KeyboardInterrupt
    if errors:
        raise next((error for error in errors if isinstance(error, UserError)), errors[0])


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Ignore Ctrl-C for the moment in which processes are made, for they inherit this and keep it while they import."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


_shared: tuple[Any, Any, bool] | None = None
"""In a worker process: environment steps of each job, whether to begin no more jobs, whether Ctrl-C means it."""


def _begin_worker(counts: Any, stop: Any, interruptible: bool) -> None:
    global _shared
    _shared = counts, stop, interruptible
    # Between jobs there is nothing to interrupt.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _work(job: Job) -> Result:
    assert _shared is not None
    counts, stop, interruptible = _shared

    def tell(steps: int) -> None:
        counts[job.number] = steps

    try:
        # In this order: whoever sets `stop` sends a signal afterwards, so one of the two is always noticed.
        if interruptible:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if stop.is_set():
            return Result(Path(job.logs), None)
        return run(job, tell)
    except KeyboardInterrupt:
        return Result(Path(job.logs), None)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
