"""A grid small enough for tests, and the command as other processes type it."""

import contextlib
import subprocess
import sys
import threading
import time
from concurrent.futures import Executor, Future

import pytest
import yaml

from sweeps import crew
from tests.children import child_environment

TINY = {
    "data.random.candidates": 120, "data.random.neighbors": 3, "data.steps_per_epoch": 5, "trainer.max_steps": 10,
    "trainer.log_every_n_steps": 1, "data.batch_size": 16, "data.states_per_step": 4,
    "data.random.states": {"probe": 16, "train": 16, "val": 8, "test": 8, "episodes": 2},
    "model.encoder_widths": [8], "model.decoder_widths": [8],
}  # fmt: skip


def settings(**changes):
    """Return a plan of two latent sizes and two seeds, with changes."""
    return {
        "search": {"model.latent_dim": [1, 2]}, "policies": {"small": {}}, "seeds": [0, 1], "fit": dict(TINY),
    } | changes  # fmt: skip


@pytest.fixture
def write_grid(tmp_path):
    """Write a plan to a file, and return its path as text."""

    def write(name="grid.yaml", **changes):
        path = tmp_path / name
        path.write_text(yaml.safe_dump({"default": settings(**changes)}))
        return str(path)

    return write


def start(*words, script=None, **more):
    """Start `python -m sweeps WORDS`, or a script, in a process of its own."""
    command = [sys.executable, "-c", script] if script else [sys.executable, "-m", "sweeps"]
    return subprocess.Popen(
        [*command, *map(str, words)],
        env=child_environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **more,
    )


class Backwards(Executor):
    """Does calls in a thread, the last one first, as no scheduler would.

    It tells of none before all are done, unless it is told to: a thread shares the current folder with the command.
    """

    def __init__(self):
        self.calls, self.count, self.tells_early = [], 0, False

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        self.calls.append((future, fn, args, kwargs))
        self.count += 1
        if len(self.calls) == 1:
            self.thread = threading.Thread(target=self._work, daemon=True)
            self.thread.start()
        return future

    def _work(self):
        time.sleep(0.2)  # until all are there
        done = []
        while self.calls:
            future, fn, args, kwargs = self.calls.pop()
            if future.set_running_or_notify_cancel():
                try:
                    result = fn(*args, **kwargs)
                except BaseException as error:
                    future.set_exception(error)
                else:
                    done.append((future, result))
            while done and (self.tells_early or not self.calls):
                future, result = done.pop(0)
                future.set_result(result)


@pytest.fixture
def backwards(monkeypatch):
    executor = Backwards()

    @contextlib.contextmanager
    def opened(engine, folder):
        assert engine.workers == 2
        yield executor

    monkeypatch.setattr(crew, "open_executor", opened)
    return executor
