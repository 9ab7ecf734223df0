"""Statistics of a policy that was trained on normalized observations become its first layers, or a sentence says why not."""

import dataclasses
import pickle

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import nn

from lightning_pz import compress, export
from lightning_pz.common.errors import UserError
from lightning_pz.compression.environments import find_world
from lightning_pz.compression.formats.network_file import read_network
from lightning_pz.compression.measures import outputs
from lightning_pz.compression.modules import Standardize
from lightning_pz.compression.normalization import was_normalized
from lightning_pz.compression.open_policy import open_policy
from tests.compression.conftest import PPO_TINY, run


@pytest.fixture
def normalized(point_mass, tmp_path):
    """Return id, model, statistics and where the two are kept, of a training under VecNormalize."""
    name = point_mass(limit=20)
    find_world(name)  # imports the module
    env = VecNormalize(DummyVecEnv([lambda: gymnasium.make(name, disable_env_checker=True)]), clip_obs=0.5)
    model = PPO("MlpPolicy", env, seed=0, device="cpu", **PPO_TINY["ppo"])
    model.learn(64)
    folder = tmp_path / "zoo" / name.partition(":")[2]
    folder.mkdir(parents=True)
    model.save(folder.parent / "best_model.zip")
    env.save(str(folder / "vecnormalize.pkl"))
    return name, model, env, folder.parent / "best_model.zip", folder / "vecnormalize.pkl"


def test_statistics_of_a_normalized_policy_become_its_first_layers(normalized, tmp_path, capsys):
    name, model, env, path, statistics = normalized
    states = np.random.default_rng(0).normal(0, 3, size=(50, 3)).astype(np.float32)
    wanted = model.predict(env.normalize_obs(states), deterministic=True)[0]
    assert (np.abs(env.normalize_obs(states)) == 0.5).any()  # the clip is at work
    world = find_world(name)
    raw = torch.from_numpy(states)
    assert outputs(open_policy(str(path), world, str(statistics)), raw).numpy() == pytest.approx(wanted, abs=1e-5)
    assert "VecNormalize" not in capsys.readouterr().err
    other = outputs(open_policy(str(path), world), raw).numpy()
    assert np.abs(other - wanted).max() > 1e-3
    warned = capsys.readouterr().err
    assert warned.startswith("warning: ") and "--normalization" in warned and str(statistics) in warned

    command = ["--env", name, "--policy", path, "--method", "int8", "--logs", tmp_path / "logs"]
    folder, summary = run(capsys, *command, "--normalization", statistics)
    dense, _ = read_network(folder / "formats" / "float32.lpz")
    assert outputs(dense, raw).numpy() == pytest.approx(wanted, abs=1e-5)
    assert summary["normalization"] == str(statistics) and summary["bytes_onnx"] > 0
    # The same file with other numbers in it is another run.
    env.obs_rms.mean[:] += 1
    env.save(str(statistics))
    assert run(capsys, *command, "--normalization", statistics)[0] != folder


@pytest.mark.parametrize("kind, more", [(PPO, {"n_steps": 32}), (SAC, {"learning_starts": 5, "buffer_size": 50})])
@pytest.mark.parametrize("name", ["Pendulum-v1", "InvertedPendulum-v5", "MountainCarContinuous-v0"])
def test_only_what_was_normalized_is_called_so(kind, more, name, tmp_path, capsys):
    arch = {"policy_kwargs": {"net_arch": [8]}, "device": "cpu", "batch_size": 16}
    world, path, warned = find_world(name), tmp_path / "model.zip", []
    for wrap in (lambda env: env, VecNormalize):
        env = wrap(DummyVecEnv([lambda: gymnasium.make(name)]))
        env.seed(0)
        model = kind("MlpPolicy", env, seed=0, **more, **arch)
        model.learn(40)
        model.save(path)
        open_policy(str(path), world)
        warned.append(capsys.readouterr().err)
    assert warned[0] == ""
    assert warned[1].startswith(f"warning: {path} was trained under VecNormalize")


def test_where_a_zip_does_not_tell_statistics_beside_it_do(point_mass, tmp_path, capsys):
    name = point_mass()  # float32 in an infinite box
    world, path = find_world(name), tmp_path / "model.zip"
    env = DummyVecEnv([lambda: gymnasium.make(name, disable_env_checker=True)])
    model = SAC("MlpPolicy", env, device="cpu", buffer_size=50, learning_starts=99, policy_kwargs={"net_arch": [8]})
    model.learn(20)
    model.save(path)
    open_policy(str(path), world)
    assert not capsys.readouterr().err
    (tmp_path / "model_vecnormalize.pkl").touch()
    open_policy(str(path), world)
    assert "model_vecnormalize.pkl" in capsys.readouterr().err


def test_a_zip_without_its_last_observation_still_tells_by_the_one_before(normalized, tmp_path, capsys):
    """As published ones of A2C are; and where nothing tells, what lies beside it does, to export as well."""
    name, model, _, path, statistics = normalized
    model._last_obs = None
    model.save(path)
    open_policy(str(path), find_world(name))
    assert capsys.readouterr().err.startswith(f"warning: {path} was trained under VecNormalize")
    with pytest.raises(UserError, match="was trained under VecNormalize: give its statistics"):
        export.main(["--policy", str(path), "--to", str(tmp_path / "policy.npz")])

    off = SAC(
        "MlpPolicy", gymnasium.make("Pendulum-v1"), device="cpu", policy_kwargs={"net_arch": [8]}, learning_starts=99
    )
    off.learn(5)
    assert was_normalized(off) is None
    off._last_original_obs = {"observation": off._last_original_obs}  # of a learner of goals, as it was once
    off._last_obs = {"observation": off._last_obs}
    assert was_normalized(off) is None
    off.save(path)
    export.main(["--policy", str(path), "--to", str(tmp_path / "policy.npz")])
    assert f"statistics of VecNormalize lie beside {path} ({statistics})" in capsys.readouterr().err


def test_statistics_that_do_not_fit(normalized, write_policy, tmp_path):
    name, _, env, path, statistics = normalized
    world = find_world(name)
    with pytest.raises(UserError, match="statistics of 3 numbers, but observations have 4"):
        open_policy(str(path), dataclasses.replace(world, shape=(4,)), str(statistics))
    env.norm_obs = False
    env.save(str(statistics))
    with pytest.raises(UserError, match="did not normalize observations"):
        open_policy(str(path), world, str(statistics))
    statistics.write_bytes(pickle.dumps({"mean": 0}))
    with pytest.raises(UserError, match="holds a dict"):
        open_policy(str(path), world, str(statistics))
    statistics.write_bytes(b"no pickle")
    with pytest.raises(UserError, match="cannot be opened"):
        open_policy(str(path), world, str(statistics))
    for arguments, sentence in (
        (["--policy", write_policy(), "--normalization", statistics], "goes with a Stable-Baselines3 zip"),
        (["--normalization", statistics], "goes with a Stable-Baselines3 zip"),
        (["--policy", path, "--normalization", tmp_path / "none.pkl"], "there is none at"),
        (["--policy", path, "--reference", path], "drop one"),
    ):
        with pytest.raises(UserError, match=sentence):
            compress.main(["--env", name, *map(str, arguments)])


def test_parts_of_a_dictionary_are_normalized_in_the_policys_order(normalized):
    from lightning_pz.compression.normalization import with_statistics

    statistics = normalized[-1]
    space = gymnasium.spaces.Dict(
        {key: gymnasium.spaces.Box(-9, 9, (size,), np.float32) for key, size in (("a", 1), ("b", 2))}
    )

    class Two(gymnasium.Env):
        observation_space, action_space = space, gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    wrapped = VecNormalize(DummyVecEnv([Two]), norm_obs_keys=["b"], clip_obs=2.0)
    wrapped.obs_rms["b"].mean[:], wrapped.obs_rms["b"].var[:] = [1.0, -1.0], [4.0, 0.25]
    wrapped.save(str(statistics))
    given = {"a": np.array([[7.0]], dtype=np.float32), "b": np.array([[2.0, 5.0]], dtype=np.float32)}
    wanted = wrapped.normalize_obs(given)
    got = with_statistics(nn.Sequential(nn.Identity()), statistics, 3)(torch.tensor([[7.0, 2.0, 5.0]]))
    assert got[0].tolist() == pytest.approx([*wanted["a"][0], *wanted["b"][0]], abs=1e-5)
    assert wanted["b"][0].tolist() == pytest.approx([0.5, 2.0], abs=1e-5)


def test_a_model_that_acts_otherwise_than_its_layers_is_refused(normalized, monkeypatch):
    name, *_, path, _ = normalized
    monkeypatch.setattr(
        "lightning_pz.compression.open_policy.network_of",
        lambda model: nn.Sequential(Standardize(torch.zeros(3), torch.ones(3)), nn.Linear(3, 2)),
    )
    with pytest.raises(UserError, match="acts otherwise than the layers"):
        open_policy(str(path), find_world(name))


def test_ppo_that_squashes_its_actions_is_read_off_right(point_mass, tmp_path):
    name = point_mass(low=-1.0, high=3.0)
    find_world(name)
    kwargs = {"policy_kwargs": {"squash_output": True, "net_arch": [16]}, "use_sde": True}
    model = PPO(
        "MlpPolicy", gymnasium.make(name, disable_env_checker=True), device="cpu", n_steps=32, batch_size=32, **kwargs
    )
    model.save(tmp_path / "x.zip")
    states = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    got = outputs(open_policy(str(tmp_path / "x.zip"), find_world(name)), torch.from_numpy(states)).numpy()
    assert got == pytest.approx(model.predict(states, deterministic=True)[0], abs=1e-5)
