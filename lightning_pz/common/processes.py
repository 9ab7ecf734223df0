"""Cores that this process may use, and signals: a Ctrl-C that waits, others that count as one. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Signals that tell a process to save what it has and end: Ctrl-C, a scheduler that ends a job, and one that warns before."""


def available_cores() -> int:
    """Return how many cores this process may use, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_or_all(count: int | None) -> int:
    """Return the number of threads that was asked for, or if none was, as many as there are cores for this process.

    OMP_NUM_THREADS, by which schedulers and whoever starts processes side by side share out a machine, bounds the latter.
    """
    if count is not None:
        return count
    shared = os.environ.get("OMP_NUM_THREADS", "")
    return min(available_cores(), int(shared)) if shared.isdecimal() and int(shared) else available_cores()


@contextlib.contextmanager
def ignore_interrupts() -> Iterator[None]:
    """Ignore Ctrl-C in a block; only the main thread can. Processes made in it inherit this."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Let each of the `ENDING` signals raise `KeyboardInterrupt` in a block, those other than Ctrl-C only the first time.

    Only the main thread can. A signal that this process ignores, or that a library handles (submitit's SIGTERM), stays as
    it is.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def interrupt(number: int, frame: Any) -> None:
        came.append(number)
        if number == signal.SIGINT or len(came) == 1:
            raise KeyboardInterrupt

    own = (signal.SIG_DFL, signal.default_int_handler)
    before = {one: signal.getsignal(one) for one in ENDING}
    mine = [one for one, handler in before.items() if handler in own or _is_ours(handler)]
    for one in mine:
        signal.signal(one, interrupt)
    try:
        yield
    finally:
        for one in mine:
            signal.signal(one, before[one])


def _is_ours(handler: Any) -> bool:
    return getattr(handler, "__module__", "").startswith("lightning_pz.")
