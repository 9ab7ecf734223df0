"""Models that others published open here, those that were saved under Gym by another Python among them."""

import base64
import json
import pickle
import sys
import types
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import QRDQN, TQC, TRPO
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from lightning_pz.common.errors import UserError
from lightning_pz.compression.environments import find_world
from lightning_pz.compression.measures import outputs
from lightning_pz.compression.open_policy import open_policy
from lightning_pz.compression.training.sb3_models import open_to_act
from tests.compression.conftest import TINY, run

KINDS = dict.fromkeys((SAC, TQC, TD3, DDPG, PPO, A2C, TRPO), "Pendulum-v1") | {DQN: "CartPole-v1"}
NOISE = {"use_sde": True}  # depends on states, and bounds the mean
# A protocol 5 pickle that calls the constructor of code objects with too few arguments, as one of another Python does.
OTHER_PYTHON = base64.b64encode(b"\x80\x05ctypes\nCodeType\nK\x00\x85R.").decode()


def small(kind: type, **more: Any) -> Any:
    """Return an untrained model."""
    # The library writes into the dictionary.
    arch = {"net_arch": [16, 16]}
    return kind("MlpPolicy", gymnasium.make(KINDS[kind]), device="cpu", seed=0, policy_kwargs=arch, **more)


@contextmanager
def old_library(*kinds: str) -> Iterator[dict[str, type]]:
    """Put classes of Gym's names where pickles look for them."""
    modules = {"gym": types.ModuleType("gym"), "gym.spaces": types.ModuleType("gym.spaces")}
    found = {}
    for kind in kinds:
        module = modules[f"gym.spaces.{kind.lower()}"] = types.ModuleType(f"gym.spaces.{kind.lower()}")
        found[kind] = type(kind, (), {"__module__": module.__name__})
        setattr(module, kind, found[kind])
    sys.modules.update(modules)
    try:
        yield found
    finally:
        for name in modules:
            del sys.modules[name]


def old_space(space: spaces.Space, made: type) -> Any:
    """Return an object with the state that a space of Gym 0.21 has."""
    keys = ("low", "high", "bounded_below", "bounded_above") if isinstance(space, spaces.Box) else ("n",)
    old = made()
    old.__dict__.update(shape=space.shape, dtype=space.dtype, np_random=np.random.RandomState(0))
    old.__dict__.update({key: getattr(space, key) for key in keys})
    return old


def saved_of_old(model, path: Path) -> Path:
    """Save a model, and make of the file one that an earlier version wrote."""
    model.save(path)
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    data = json.loads(parts["data"])
    for key in ("observation_space", "action_space"):
        name = type(space := getattr(model, key)).__name__
        with old_library(name) as made:
            content = pickle.dumps(old_space(space, made[name]))
        data[key] = {
            ":type:": f"<class 'gym.spaces.{name.lower()}.{name}'>",
            ":serialized:": base64.b64encode(content).decode(),
        }
    for key in ("learning_rate", "lr_schedule", "clip_range", "clip_range_vf", "exploration_schedule"):
        if key in data:
            data[key] = {":type:": "<class 'function'>", ":serialized:": OTHER_PYTHON}
    parts["data"] = json.dumps(data).encode()
    with zipfile.ZipFile(path, "w") as file:
        for name, content in parts.items():
            file.writestr(name, content)
    return path


@pytest.mark.parametrize(
    "kind, more", [*((kind, {}) for kind in KINDS), *((kind, NOISE) for kind in (SAC, TQC, PPO, A2C))]
)
def test_a_model_of_earlier_versions_acts_as_it_did(kind, more, tmp_path):
    model, name = small(kind, **more), KINDS[kind]
    if kind in (SAC, TQC) and more:  # means beyond the bound, which is at 2
        with torch.no_grad():
            model.actor.mu[0].weight.mul_(100)
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


def test_statistics_of_earlier_versions_are_those_that_they_were(tmp_path):
    env = VecNormalize(DummyVecEnv([lambda: gymnasium.make("Pendulum-v1")]))
    env.obs_rms.mean[:], env.obs_rms.var[:] = (1.0, -2.0, 3.0), (4.0, 9.0, 0.25)
    with old_library("Box") as made:
        env.observation_space, env.action_space = (
            old_space(s, made["Box"]) for s in (env.observation_space, env.action_space)
        )
        env.save(str(tmp_path / "vecnormalize.pkl"))
    model, states = small(PPO), np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    old = saved_of_old(model, tmp_path / "model.zip")
    wanted = model.predict((states - np.float32([1, -2, 3])) / np.float32([2, 3, 0.5]), deterministic=True)[0]
    network = open_policy(str(old), find_world("Pendulum-v1"), str(tmp_path / "vecnormalize.pkl"))
    assert outputs(network, torch.from_numpy(states)).numpy() == pytest.approx(wanted, abs=1e-5)


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
    with pytest.raises(
        UserError, match=r"sb3_contrib.qrdqn.policies, but expected one of sac, td3, ppo, dqn, tqc, or DDPG, A2C"
    ):
        open_to_act(tmp_path / "model.zip")


def test_tqc_without_its_package_names_the_extra(tmp_path, monkeypatch):
    small(TQC).save(tmp_path / "model.zip")
    monkeypatch.setattr("lightning_pz.common.checks.is_installed", lambda package: False)
    with pytest.raises(
        UserError, match=r"sb3_contrib, which is not installed: pip install 'lightning_pz\[baselines\]'"
    ):
        open_to_act(tmp_path / "model.zip")
