"""Runs one after another, or side by side in processes of one thread each."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lightning_pz.common.errors import UserError
from lightning_pz.common.processes import ignore_interrupts
from lightning_pz.jobs.finetune_run import SearchJob, SearchResult, run_search


def one_by_one(todo: list[SearchJob], results: list[SearchResult], bar: tqdm) -> None:
    """Do runs in this process, adding each result when it is there."""
    for job in todo:
        results.append(run_search(job, _drawing(bar)))


def _drawing(bar: tqdm) -> Callable[[int], Any]:
    """Return what draws the steps taken from now on."""
    before = int(bar.n)
    return lambda steps: bar.update(before + steps - bar.n)


def side_by_side(todo: list[SearchJob], workers: int, results: list[SearchResult], bar: tqdm) -> None:
    """Do runs in some worker processes, adding each result when it is there.

    Errors are raised after the other runs have ended, `KeyboardInterrupt` after all workers have saved their states.
    """
    context = multiprocessing.get_context("spawn")
    counts, stop = context.Array("q", len(todo)), context.Event()
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    interruptible = signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    executor = ProcessPoolExecutor(workers, context, initializer=_begin_worker, initargs=(counts, stop, interruptible))
    pending: set[Future[SearchResult]] = set()
    errors: list[BaseException] = []
    draw = _drawing(bar)
    try:
        with ignore_interrupts():  # workers keep ignoring Ctrl-C while they import
            pending = {executor.submit(_work, job) for job in todo}
        while pending:
            done, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in done:
                if (error := future.exception()) is not None:
                    errors.append(error)
                else:
                    results.append(future.result())
            draw(sum(counts[:]))
    except KeyboardInterrupt:
        # The executor hands out one job more than there are workers, which can no longer be canceled.
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


_shared: tuple[Any, Any, bool] | None = None
"""In a worker process: environment steps of each job, whether to begin no more jobs, whether Ctrl-C interrupts it."""


def _begin_worker(counts: Any, stop: Any, interruptible: bool) -> None:
    global _shared
    _shared = counts, stop, interruptible
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # between jobs there is nothing to interrupt


def _work(job: SearchJob) -> SearchResult:
    assert _shared is not None
    counts, stop, interruptible = _shared
    try:
        # In this order: `stop` is set before the signal is sent, so one of the two is always noticed.
        if interruptible:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return (
            SearchResult(Path(job.logs), None)
            if stop.is_set()
            else run_search(job, partial(counts.__setitem__, job.number))
        )
    except KeyboardInterrupt:
        return SearchResult(Path(job.logs), None)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
