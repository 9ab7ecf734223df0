"""Models that others published open here, those that were saved under Gym by another Python among them."""

import base64
import json
import pickle
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import QRDQN, TQC, TRPO
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3

from lightning_pz.common.errors import UserError
from lightning_pz.compression.environments import find_world
from lightning_pz.compression.measures import outputs
from lightning_pz.compression.open_policy import open_policy
from lightning_pz.compression.training.sb3_models import open_to_act
from tests.compression.conftest import TINY, run

KINDS = dict.fromkeys((SAC, TQC, TD3, DDPG, PPO, A2C, TRPO), "Pendulum-v1") | {DQN: "CartPole-v1"}
# A protocol 5 pickle that calls the constructor of code objects with too few arguments, as one of another Python does.
OTHER_PYTHON = base64.b64encode(b"\x80\x05ctypes\nCodeType\nK\x00\x85R.").decode()


def small(kind: type) -> Any:
    """Return an untrained model."""
    # The library writes into the dictionary.
    arch = {"net_arch": [16, 16]}
    return kind("MlpPolicy", gymnasium.make(KINDS[kind]), device="cpu", seed=0, policy_kwargs=arch)


class OldSpace:
    """Pickles as a space of Gym 0.21 does: class and state of then."""

    def __init__(self, space: spaces.Space) -> None:
        self.space = space

    def bytes(self) -> bytes:
        box = isinstance(self.space, spaces.Box)
        name = "box" if box else "discrete"
        state = {"shape": self.space.shape, "dtype": self.space.dtype, "np_random": np.random.RandomState(0)}
        keys = ("low", "high", "bounded_below", "bounded_above") if box else ("n",)
        state |= {key: getattr(self.space, key) for key in keys}
        module = types.ModuleType(f"gym.spaces.{name}")
        old = type(name.title(), (), {"__module__": module.__name__})
        setattr(module, old.__name__, old)
        made = old()
        made.__dict__.update(state)
        names = {"gym": types.ModuleType("gym"), "gym.spaces": types.ModuleType("gym.spaces"), module.__name__: module}
        sys.modules.update(names)
        try:
            return pickle.dumps(made)
        finally:
            for one in names:
                del sys.modules[one]


def saved_of_old(model, path: Path) -> Path:
    """Save a model, and make of the file one that an earlier version wrote."""
    model.save(path)
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    data = json.loads(parts["data"])
    for key in ("observation_space", "action_space"):
        space = getattr(model, key)
        data[key] = {
            ":type:": f"<class 'gym.spaces.{type(space).__name__.lower()}.{type(space).__name__}'>",
            ":serialized:": base64.b64encode(OldSpace(space).bytes()).decode(),
        }
    for key in ("lr_schedule", "clip_range", "exploration_schedule"):
        if key in data:
            data[key] = {":type:": "<class 'function'>", ":serialized:": OTHER_PYTHON}
    parts["data"] = json.dumps(data).encode()
    with zipfile.ZipFile(path, "w") as file:
        for name, content in parts.items():
            file.writestr(name, content)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_earlier_versions_acts_as_it_did(kind, tmp_path):
    model, name = small(kind), KINDS[kind]
    states = np.random.default_rng(0).normal(size=(50, model.observation_space.shape[0])).astype(np.float32)
    wanted = model.predict(states, deterministic=True)[0]
    old = saved_of_old(model, tmp_path / "model.zip")
    assert "gym" not in sys.modules
    got = outputs(open_policy(str(old), find_world(name)), torch.from_numpy(states)).numpy()
    if kind is DQN:
        assert (got.argmax(1) == wanted).all()
    else:
        assert got == pytest.approx(wanted, abs=1e-5)
    assert open_to_act(old).observation_space == model.observation_space
    assert open_to_act(old).action_space == model.action_space


def test_a_published_tqc_is_compressed(tmp_path, capsys):
    small(TQC).save(tmp_path / "tqc.zip")
    command = ["--env", "Pendulum-v1", "--env.horizon", "20", "--policy", tmp_path / "tqc.zip", "--sparsity", "0.5"]
    _, summary = run(capsys, *command, "--logs", tmp_path / "logs", *TINY)
    assert summary["sparsity"] == pytest.approx(0.5, abs=1e-3) and summary["return_dense"] < 0


def test_spaces_that_cannot_be_read_are_told(tmp_path):
    path = saved_of_old(small(SAC), tmp_path / "model.zip")
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    data = json.loads(parts["data"])
    data["action_space"][":serialized:"] = base64.b64encode(b"no pickle").decode()
    with zipfile.ZipFile(path, "w") as file:
        for name, content in (parts | {"data": json.dumps(data).encode()}).items():
            file.writestr(name, content)
    with pytest.raises(UserError, match="was saved under Gym, and its spaces cannot be read"):
        open_to_act(path)


def test_what_cannot_be_opened_is_named_beside_what_can(tmp_path):
    QRDQN("MlpPolicy", gymnasium.make("CartPole-v1"), device="cpu").save(tmp_path / "model.zip")
    with pytest.raises(UserError, match=r"sb3_contrib.qrdqn.policies, but expected one of sac, td3, ppo, dqn, tqc"):
        open_to_act(tmp_path / "model.zip")


def test_tqc_without_its_package_names_the_extra(tmp_path, monkeypatch):
    small(TQC).save(tmp_path / "model.zip")
    monkeypatch.setattr("lightning_pz.common.checks.is_installed", lambda package: False)
    with pytest.raises(
        UserError, match=r"sb3_contrib, which is not installed: pip install 'lightning_pz\[baselines\]'"
    ):
        open_to_act(tmp_path / "model.zip")
