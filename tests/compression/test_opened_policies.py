"""Policies are opened in the environment that they were made for, and broken ones are sentences."""

import json
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import nn

from lightning_pz import compress, export, fit
from lightning_pz.common.errors import UserError
from lightning_pz.compression.environments import find_world
from lightning_pz.compression.open_policy import open_policy
from lightning_pz.doors.sb3_files import read_sb3
from tests.compression.conftest import TINY

LARGEST = float(np.finfo(np.float32).max)
ARCH = {"net_arch": [16, 16]}


class Wide(gymnasium.Env):
    """Three numbers that may be the largest there are; reward is `gain` in each step."""

    def __init__(self, gain=1.0, bound=LARGEST, wide=(1.0, 1.0), choices=0):
        self.observation_space = gymnasium.spaces.Box(-bound, bound, (3,), np.float32)
        low, high = -np.array(wide, dtype=np.float32), np.array(wide, dtype=np.float32)
        self.action_space = gymnasium.spaces.Discrete(choices) if choices else gymnasium.spaces.Box(low, high)
        self.gain = gain

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.np_random.normal(size=3).astype(np.float32), {}

    def step(self, action):
        return self.np_random.normal(size=3).astype(np.float32), self.gain, False, False, {}


for name, more in (("Wide", {}), ("Flat", {"wide": (1.0, 0.0)}), ("Choices", {"choices": 3})):
    gymnasium.register(f"{name}-v0", Wide, max_episode_steps=6, kwargs=more)


@pytest.mark.parametrize("kind", [SAC, TD3, DQN, PPO])
def test_a_box_of_the_largest_numbers_is_no_reason_to_refuse_a_policy(kind, tmp_path):
    name = "Choices-v0" if kind is DQN else "Wide-v0"
    env = gymnasium.make(name)
    model = kind("MlpPolicy", env, seed=0, device="cpu", **({} if kind is PPO else {"buffer_size": 1}))
    model.save(tmp_path / "model.zip")
    network = open_policy(str(tmp_path / "model.zip"), find_world(name))
    seen = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    with torch.no_grad():
        got = network(torch.from_numpy(seen)).numpy()
    wanted = model.predict(seen, deterministic=True)[0]
    if kind is DQN:
        assert np.array_equal(got.argmax(1), wanted)
    else:
        assert np.allclose(got, wanted, atol=1e-4)


def test_a_checkpoint_is_opened_with_the_arguments_that_it_was_fitted_with(tmp_path):
    words = [
        "--env", "Wide-v0", "--env.kwargs.gain", "5", "--env.kwargs.bound", "3", "--policy.hidden", "[4]", "--model.latent_dim", "2",
        "--model.encoder_widths", "[8]", "--model.decoder_widths", "[8]", "--data.recipe", "random",
        "--data.random.candidates", "60", "--data.random.neighbors", "3", "--data.batch_size", "8",
        "--data.random.states", "{probe: 8, train: 8, val: 4, test: 4, episodes: 2}", "--data.states_per_step", "4",
        "--data.steps_per_epoch", "5", "--trainer.max_steps", "5", "--trainer.log_every_n_steps", "5", "--probes.enabled", "false", "--logs", str(tmp_path),
    ]  # fmt: skip
    checkpoint = fit.main(words).summary["checkpoint"]
    latent = (0.1, -0.2)
    given = {"gain": 5, "bound": 3}
    assert open_policy(checkpoint, find_world("Wide-v0", 6, given), latent=latent) is not None
    for other, told in (({}, "bound is .absent., not 3"), (given | {"gain": 7}, "gain is 5, not 7|gain is 7, not 5")):
        with pytest.raises(UserError, match=f"other arguments of Wide-v0 .*({told}).*: give the same --env.kwargs"):
            open_policy(checkpoint, find_world("Wide-v0", 6, other), latent=latent)


@pytest.fixture
def normalized(tmp_path):
    """Return a function that saves a PPO with its statistics, after a change, and returns the two paths."""

    def go(change):
        env = VecNormalize(DummyVecEnv([lambda: gymnasium.make("Wide-v0")]))
        model = PPO("MlpPolicy", env, seed=0, device="cpu", n_steps=8, batch_size=8, n_epochs=1, policy_kwargs=ARCH)
        model.learn(8)
        change(model, env)
        model.save(tmp_path / "model.zip")
        env.save(str(tmp_path / "statistics.pkl"))
        return str(tmp_path / "model.zip"), str(tmp_path / "statistics.pkl")

    return go


def diverged(model, env):
    with torch.no_grad():
        model.policy.action_net.weight[0, 0] = torch.nan


def lost(model, env):
    env.obs_rms.mean[0] = np.nan


@pytest.mark.parametrize("change, what", [(diverged, "weights"), (lost, "statistics")])
def test_numbers_that_are_not_finite_are_told(change, what, normalized):
    path, statistics = normalized(change)
    with pytest.raises(UserError, match=r"finite (weights|numbers).*(diverged|damaged)"):
        open_policy(path, find_world("Wide-v0"), statistics)
    with pytest.raises(UserError, match=f"{what} that are no finite numbers: .* or the file is damaged"):
        read_sb3(path, statistics)


class Extractor(BaseFeaturesExtractor):
    """Eight numbers made of three."""

    def __init__(self, space):
        super().__init__(space, 8)
        self.body = nn.Linear(3, 8)

    def forward(self, seen):
        return self.body(seen)


@pytest.mark.filterwarnings("ignore:.*maximum and minimum values are equal")
@pytest.mark.parametrize("kind", [PPO, TD3])
def test_what_no_policy_file_holds_is_refused_by_its_name(kind, tmp_path):
    more = {"device": "cpu"} | ({} if kind is PPO else {"buffer_size": 1})
    kind("MlpPolicy", gymnasium.make("Wide-v0"), policy_kwargs={"features_extractor_class": Extractor}, **more).save(
        tmp_path / "e.zip"
    )
    with pytest.raises(UserError, match="has a features extractor in front of its layers"):
        read_sb3(tmp_path / "e.zip")
    kind("MlpPolicy", gymnasium.make("Flat-v0"), **more).save(tmp_path / "f.zip")
    with pytest.raises(UserError, match="but a policy file holds boxes of some width"):
        export.main(["--policy", str(tmp_path / "f.zip"), "--to", str(tmp_path / "f.npz")])
    assert not (tmp_path / "f.npz").exists()


def test_arguments_that_atari_games_are_played_without_are_refused():
    for name, value in (("frameskip", 2), ("repeat_action_probability", 0.5), ("obs_type", "ram")):
        with pytest.raises(UserError, match=f"--env.kwargs.{name} is fixed for Atari games"):
            find_world("ALE/Pong-v5", None, {name: value})
    assert find_world("ALE/Pong-v5", None, {"difficulty": 1}).shape == (4, 84, 84)


def test_exports_of_an_attempt_that_was_cut_are_written_again(write_policy, point_mass, tmp_path, monkeypatch, capsys):
    """Sizes and latencies of ONNX files are in the summary, and the files are those of the network beside them."""
    from lightning_pz.jobs import compress as job

    words = ["--env", point_mass(limit=10), "--policy", str(write_policy()), "--method", "int8", *TINY]

    def done(logs) -> tuple:
        compress.main([*words, "--logs", str(tmp_path / logs)])
        return Path(capsys.readouterr().out.strip().splitlines()[-1])

    whole = done("whole")
    keys = json.loads((whole / "summary.json").read_text()).keys()
    with monkeypatch.context() as cut:
        cut.setattr(job, "_measure", lambda *args, **more: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            done("cut")
    (left,) = (tmp_path / "cut").rglob("policy.onnx")
    left.write_bytes(b"of another network")
    again = done("cut")
    assert again == left.parent and left.read_bytes() == (whole / "policy.onnx").read_bytes()
    assert json.loads((again / "summary.json").read_text()).keys() == keys and "bytes_onnx_int8" in keys
    (again / "policy_int8.onnx").unlink()
    assert done("cut") == again and (again / "policy_int8.onnx").is_file()
