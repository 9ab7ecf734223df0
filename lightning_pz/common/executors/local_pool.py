"""Pieces in processes of this machine, one thread each.

Processes are forked from a server that has imported the heavy libraries and done nothing else, so that a worker begins
in a moment and shares their memory. The command itself is never forked: it may have threads.
"""

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

_IMPORTED = ["lightning", "gymnasium", "mujoco", "scipy.stats", "matplotlib.figure"]
"""What the server imports: libraries alone, since a piece's own modules may have been edited since it began."""
_LAST = 60  # seconds that a piece has to save its state once the command is dead


@contextlib.contextmanager
def open_local(engine: Engine, folder: Path) -> Iterator[Executor]:
    """Give a pool of processes, which end with this one."""
    interruptible = signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # the server's is that of the day when it began
    pool = _Pool(
        engine.workers or available_cores(), context, initializer=_begin, initargs=(interruptible, environment)
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
        """Submit; the server and a process begin here, ignore Ctrl-C, and read how many threads they may use."""
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


def _begin(interruptible: bool, environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
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
