"""Environments and policies that are made for one test."""

import importlib
import itertools
import json
import sys
import textwrap
from pathlib import Path

import gymnasium
import pytest
import torch

from lightning_pz import compress
from lightning_pz.compression.environments import World
from lightning_pz.compression.methods.stack import layers_of
from lightning_pz.policy import Layout
from lightning_pz.policy.saved import SavedPolicy

TINY = [
    "--distill.steps", "60", "--distill.episodes", "1", "--distill.held_out", "1", "--distill.rounds", "1",
    "--distill.batch_size", "32", "--episodes", "2", "--progress", "false",
]  # fmt: skip
PPO_TINY = {"ppo": {"n_steps": 32, "batch_size": 32, "n_epochs": 1, "policy_kwargs": {"net_arch": [16, 16]}}}
_SOURCE = '''
import gymnasium
import numpy as np


class {name}(gymnasium.Env):
    """Three numbers s = 0.95 s + 0.1 a, without an end of its own; reward -|s|."""

    metadata = {{"render_modes": []}}

    def __init__(self, bad_at=None):
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.action_space = gymnasium.spaces.Box({low}, {high}, (2,), np.float32)
        self.bad_at = bad_at

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state, self.steps = self.np_random.normal(size=3).astype(np.float32), 0
        return self.state, {{}}

    def step(self, action):
        self.steps += 1
        self.state[:] = 0.95 * self.state + 0.1 * np.append(action, action.sum())
        reward = float("nan") if self.steps == self.bad_at else -np.abs(self.state).sum()
        return self.state, reward, False, False, {{}}


gymnasium.register("{name}-v0", {name}, max_episode_steps={limit}, kwargs={kwargs!r})
'''
_NUMBERS = itertools.count()
_KWARGS = '[{}, [["FiniteOnly", "lightning_pz.envs.guarded:FiniteOnly", null]]]'
LANDER = World("LunarLander-v3", 1000, (8,), 4, True, content={
    "observation": [[8], "float32", "13bb5969e7550dc9d11bbb5d4798a7a36a204fecd905643dc4f8782b58ab0a1f"],
    "action": ["Discrete(4)"], "kwargs": _KWARGS, "source": "",
})  # fmt: skip
HOPPER = World("Hopper-v5", 1000, (11,), 3, False, (-1.0,) * 3, (1.0,) * 3, content={
    "observation": [[11], "float64", "0c0b98c8243d494c27876199cc1351e38b2b47b04ad8b7869f58d173f44cfc21"],
    "action": [[3], "float32", "e8974a29622b66d1e87e17aa4dfa5574ab35116af5e714ca382357ce7d0305b5"],
    "kwargs": _KWARGS, "source": "",
})  # fmt: skip


@pytest.fixture
def distilling(write_policy, point_mass, tmp_path):
    """Return a function from a method to the words of a run of ten steps an episode, which `run` completes."""
    return lambda method: [
        *("--env", point_mass(limit=10), "--policy", write_policy(), "--method", method, "--logs", tmp_path / "logs")
    ]


@pytest.fixture
def point_mass(tmp_path, monkeypatch):
    """Return a function that writes, imports and registers a point mass of one's own, and returns `module:Id`."""
    monkeypatch.syspath_prepend(tmp_path)
    name, registered = f"PointMass{next(_NUMBERS)}", dict(gymnasium.registry)

    def make(low=-1.0, high=1.0, limit=50, **kwargs) -> str:
        # Once more under the same name is an edit of the same environment.
        gymnasium.registry.pop(f"{name}-v0", None)
        source = _SOURCE.format(name=name, low=low, high=high, limit=limit, kwargs=kwargs)
        (tmp_path / f"{name.lower()}.py").write_text(textwrap.dedent(source))
        sys.modules.pop(name.lower(), None)
        importlib.invalidate_caches()
        return f"{name.lower()}:{name}-v0"

    yield make
    gymnasium.registry.clear()
    gymnasium.registry.update(registered)
    sys.modules.pop(name.lower(), None)


@pytest.fixture
def write_policy(tmp_path):
    """Return a function that writes a random `policy.npz` and returns its path."""

    def write(inputs=3, outputs=2, high=1.0, seed=0, name="policy.npz") -> Path:
        torch.manual_seed(seed)
        layout = Layout(inputs, (24, 24), outputs)
        corner = torch.full((outputs,), high)
        weights = 0.3 * torch.randn(layout.num_params)
        SavedPolicy(layout, weights, torch.zeros(inputs), torch.ones(inputs), -corner, corner).save(tmp_path / name)
        return tmp_path / name

    return write


def run(capsys, *arguments) -> tuple[Path, dict]:
    """Run the command; return its folder and its summary, which must be JSON to the letter."""
    compress.main([*map(str, arguments), *TINY])
    folder = Path(capsys.readouterr().out.strip().splitlines()[-1])

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return folder, json.loads((folder / "summary.json").read_text(), parse_constant=refuse)


def zeros(network) -> dict[str, int]:
    """Return the number of weights that are zero, by layer."""
    return {name: int((layer.weight == 0).sum()) for name, layer in layers_of(network).items()}
