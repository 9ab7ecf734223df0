"""Pieces of work for the tests of executors, importable by name on any worker."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from lightning_pz.common.errors import UserError


class Unportable(Exception):
    """An error that cannot be sent to another process."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} {two}")


def square(number: int) -> int:
    """Return a square, or fail in one of several ways."""
    if number == 3:
        raise UserError("three is too many")
    if number == 4:
        raise Unportable(1, 2)
    return number * number


def describe(_: Any) -> dict[str, Any]:
    """Return where the piece runs."""
    is_main = threading.current_thread() is threading.main_thread()
    return {
        "process": os.getpid(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "folder": str(Path.cwd()),
        "main": is_main,
    }


def die(_: Any) -> None:
    """Die as by the kernel's lack of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def signaled(name: str) -> str:
    """Get a signal."""
    os.kill(os.getpid(), getattr(signal, name))
    time.sleep(5)
    return "not interrupted"


def preempted(folder: str) -> str:
    """Get the signal by which submitit's jobs hear that they are preempted, the first time; say what came next."""
    state = Path(folder) / "state"
    if state.is_file():
        return f"resumed after {state.read_text()}"
    try:
        os.kill(os.getpid(), signal.SIGUSR2)
        time.sleep(5)
    except KeyboardInterrupt:
        state.write_text("a saved state")
        raise
    return "not preempted"


def until_told(folder: str, on_steps: Any, on_locked: Any) -> str:
    """Work until `on_steps` ends it, and leave a mark."""
    mark = Path(folder) / "mark"
    try:
        for step in range(10_000):
            mark.write_text(str(step))
            on_steps(step)
            time.sleep(0.02)
    except KeyboardInterrupt:
        mark.write_text("saved")
        raise
    return "never told"


def write_there(job: tuple[str, int], on_steps: Any, on_locked: Any) -> tuple[str, int]:
    """Do a job of `spread_runs` in one step."""
    on_steps(job[1])
    if job[1] == 13:
        raise UserError("thirteen")
    return job


def modules(_: Any) -> list[str]:
    """Return the names of what is imported."""
    return list(sys.modules)
