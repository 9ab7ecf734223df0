"""Runs processes that work on one study side by side: each is the very command that was typed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_workers(arguments: Sequence[str], count: int, phase: str) -> int:
    """Run `python -m sweeps ARGUMENTS` in `count` processes, and return how many of them ended with an error.

    Args:
        arguments: Arguments of the command.
        count: Number of processes.
        phase: What they work on, `search` or `confirm`.

    Raises:
        KeyboardInterrupt: Ctrl-C, or this process is terminated; the workers have queued their trials again.
    """
    environment = dict(os.environ)
    environment.setdefault("OMP_NUM_THREADS", str(max(1, cores() // count)))
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "sweeps", *arguments, "--worker", f"{os.getpid()}:{phase}"]
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    # In a session of their own, so that Ctrl-C reaches them once, through this process.
    processes = [subprocess.Popen(command, env=environment, start_new_session=True) for _ in range(count)]
    try:
        return sum(process.wait() != 0 for process in processes)
    except KeyboardInterrupt:
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        for process in processes:
            process.wait()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
