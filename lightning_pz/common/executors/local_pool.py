"""Pieces in processes of this machine, one thread each."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

from lightning_pz.common.executors.settings import Engine
from lightning_pz.common.processes import available_cores, ignore_interrupts

_LAST = 60  # seconds that a piece has to save its state once the command is dead


@contextlib.contextmanager
def open_local(engine: Engine, folder: Path) -> Iterator[Executor]:
    """Give a pool of spawned processes, which end with this one."""
    interruptible = signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    pool = _Pool(
        engine.workers or available_cores(),
        multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(interruptible,),
    )
    try:
        yield pool
    except BaseException:
        for process in list((pool._processes or {}).values()):
            process.terminate()  # what runs saves its state, and ends
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class _Pool(ProcessPoolExecutor):
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Submit; a process begins here, ignores Ctrl-C while it imports, and reads how many threads it may use."""
        before = os.environ.get("OMP_NUM_THREADS")
        os.environ["OMP_NUM_THREADS"] = "1"
        try:
            with ignore_interrupts():
                return super().submit(fn, *args, **kwargs)
        finally:
            if before is None:
                del os.environ["OMP_NUM_THREADS"]
            else:
                os.environ["OMP_NUM_THREADS"] = before


def _begin(interruptible: bool) -> None:
    # Between pieces there is nothing to interrupt; a piece looks whether the command ignores Ctrl-C.
    signal.signal(signal.SIGINT, _pass if interruptible else signal.SIG_IGN)
    threading.Thread(target=_end_with_command, daemon=True).start()


def _pass(number: int, frame: Any) -> None:
    """Do nothing at a signal."""


def _end_with_command() -> None:
    """End this process once the command is dead: Python's own pool would wait for work forever."""
    command = multiprocessing.parent_process()
    assert command is not None
    command.join()
    for _ in range(_LAST):
        os.kill(os.getpid(), signal.SIGTERM)  # a piece that runs saves its state; the next one ends the process
        time.sleep(1)
    os._exit(1)
