"""A grid small enough for tests, and the command as other processes type it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
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
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script] if script else [sys.executable, "-m", "sweeps"]
    return subprocess.Popen(
        [*command, *map(str, words)], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more
    )
