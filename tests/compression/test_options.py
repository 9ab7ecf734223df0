"""Every option of the command and every key of the settings that are shipped with it has been at work in a run."""

import json
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
import yaml
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from lightning_pz import compress
from lightning_pz.common.checks import is_installed
from lightning_pz.common.errors import UserError
from lightning_pz.compress import make_parser
from lightning_pz.compression.environments import find_world
from lightning_pz.compression.formats.network_file import read_network, read_stored
from lightning_pz.compression.resolve import env_settings
from lightning_pz.envs.presets import conf_dir, merge, preset_names

TRAINED = {
    "--config", "--env.name", "--env.id", "--env.horizon", "--env.kwargs", "--algorithm", "--method", "--steps", "--int8_share",
    "--seed", "--episodes", "--checkpoint_every", "--ramp.begin", "--ramp.end", "--ramp.events", "--l0.penalty", "--l0.learning_rate",
    "--l0.start", "--low_rank.energy", "--model", "--logs", "--progress", "--logger",
}  # fmt: skip
DISTILLED = {
    "--policy", "--sparsity", "--distribution", "--activations", "--distill.steps", "--distill.batch_size",
    "--distill.learning_rate", "--distill.episodes", "--distill.held_out", "--distill.rounds", "--distill.device",
    "--low_rank.rank", "--int8.per_channel", "--format",
}  # fmt: skip
SPREAD = {"--seeds", "--on", "--workers"}
SLURM = {f"--slurm.{name}" for name in ("partition", "time", "memory", "account", "qos", "constraint")}
"""Given to Slurm's own commands in tests/common/executors/test_slurm.py."""
LATENT = {"--latent", "--low_rank.params", "--int4.per_channel"}
MEASURED = {"--reference", "--normalization", "--low_rank.error"}
ARCH = {"net_arch": [16, 16]}
SMALL_PPO = {"n_steps": 32, "batch_size": 32, "n_epochs": 1, "policy_kwargs": ARCH}


def run(capsys, *arguments, uses=frozenset()) -> tuple[Path, dict]:
    """Run the command, which must be given at least the options that a test says it uses."""
    words = list(map(str, arguments))
    assert uses <= set(words)
    compress.main(words)
    folder = Path(capsys.readouterr().out.strip().splitlines()[-1])
    return folder, json.loads((folder / "summary.json").read_text())


def test_no_option_is_left_out():
    flags = {flag for action in make_parser()._actions for flag in action.option_strings}
    groups = {"--env", "--ramp", "--l0", "--int8", "--int4", "--low_rank", "--distill", "--slurm"}
    own = {f for f in flags if f not in groups and not f.endswith(("+", ".help")) and f not in {"-h", "--help"}}
    # Whole groups by YAML, and what jsonargparse adds of its own.
    own -= {f for f in own if f.startswith("--print_")}
    assert own == TRAINED | DISTILLED | LATENT | MEASURED | SPREAD | SLURM
    shipped = yaml.safe_load((conf_dir() / "compress.yaml").read_text())
    keys = {
        f"--{key}" if not isinstance(value, dict) or key == "model" else f"--{key}.{inner}"
        for key, value in shipped.items()
        for inner in (value if isinstance(value, dict) else (None,))
    }
    assert keys == own - SPREAD - SLURM - {
        "--config", "--env.name", "--env.id", "--env.horizon", "--env.kwargs", "--format", "--logs", "--progress", "--logger",
    }  # fmt: skip


@pytest.mark.slow
def test_seeds_side_by_side_are_the_runs_of_one_seed_each(tmp_path, capsys):
    tiny = [
        "--env", "cartpole", "--algorithm", "ppo", "--method", "prune+int8", "--steps", 64, "--episodes", 2, "--model", json.dumps({"ppo": SMALL_PPO}),
    ]  # fmt: skip
    words = list(
        map(str, [*tiny, "--seed", 3, "--seeds", 2, "--on", "local", "--workers", 2, "--logs", tmp_path / "two"])
    )
    assert set(words) >= SPREAD
    compress.main(words)
    printed = capsys.readouterr().out.strip().splitlines()
    parent = Path(printed[-1])
    assert [line.split()[0] for line in printed if line.split()[:1] in (["3"], ["4"])] == ["3", "4"]
    for seed in (3, 4):
        folder, summary = run(capsys, *tiny, "--seed", seed, "--logs", tmp_path / "one")
        twin = json.loads((parent / folder.name / "summary.json").read_text())
        assert (folder / "policy.lpz").read_bytes() == (parent / folder.name / "policy.lpz").read_bytes()
        assert summary["return"] == twin["return"] and summary["bytes_file"] == twin["bytes_file"]
    # The very folders of single runs, which are found again.
    folder, _ = run(capsys, *tiny, "--seed", 4, "--logs", tmp_path / "two")
    assert folder.parent == parent


def test_options_of_a_training(tmp_path, capsys):
    settings = tmp_path / "settings.yaml"
    settings.write_text("l0: {start: 0.8}\n")
    model = json.dumps({"ppo": SMALL_PPO | {"n_envs": 2}})
    folder, summary = run(
        capsys, "--config", settings, "--env", "cartpole", "--env.name", "pole", "--env.id", "CartPole-v1", "--env.horizon", 9,
        "--env.kwargs", "{sutton_barto_reward: false}",
        "--algorithm", "ppo", "--method", "l0+low_rank+int8", "--steps", 256, "--int8_share", 0.5, "--seed", 3,
        "--episodes", 4, "--checkpoint_every", 128, "--ramp.begin", 0.1, "--ramp.end", 0.6, "--ramp.events", 7,
        "--l0.penalty", 0.2, "--l0.learning_rate", 0.05, "--l0.start", 0.7, "--low_rank.energy", 0.5, "--model", model,
        "--logs", tmp_path / "logs", "--progress", "true", "--logger", "csv", uses=TRAINED,
    )  # fmt: skip
    assert folder == tmp_path / "logs" / "compress" / "pole" / "ppo-l0-low_rank-int8-seed3"
    assert (summary["env_steps"], summary["episodes"], summary["return"]) == (384, 4, 9)
    assert summary["gates_closed"] is not None and not (folder / "resume").exists()
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["l0"] == {"penalty": 0.2, "learning_rate": 0.05, "start": 0.7}
    assert config["ramp"] == {"begin": 0.1, "end": 0.6, "events": 7} and config["low_rank"]["energy"] == 0.5


def test_options_of_a_distillation(write_policy, tmp_path, capsys):
    command = [
        "--env", "Pendulum-v1", "--policy", write_policy(3, 1, high=2.0), "--method", "prune+low_rank+int8",
        "--sparsity", 0.4, "--distribution", "uniform", "--activations", "true", "--distill.steps", 50,
        "--distill.batch_size", 16, "--distill.learning_rate", 0.002, "--distill.episodes", 2, "--distill.held_out", 2,
        "--distill.rounds", 2, "--distill.device", "cuda" if torch.cuda.is_available() else "cpu", "--low_rank.rank", 1, "--episodes", 3, "--env.horizon", 20, "--logs", tmp_path,
        "--int8.per_channel", "true", "--format", "c,onnx,lpz",
    ]  # fmt: skip
    folder, summary = run(capsys, *command, uses=DISTILLED)
    assert {"policy.h", "policy.onnx", "policy.lpz"} <= {path.name for path in folder.iterdir()}
    assert max(len(scale) for _, scale in read_stored(folder / "policy.lpz").levels().values()) > 1
    # 2 episodes of the policy and twice 2 of the compressed one, 2 held out, of 20 steps each.
    assert summary["env_steps"] == (2 + 2 * 2 + 2) * 20 and summary["episodes"] == 3
    ranks = [value for key, value in summary.items() if key.startswith("rank/")]
    assert ranks and set(ranks) == {1}
    whole = [value for key, value in summary.items() if key.startswith("sparsity/") and value > 0]
    assert whole and all(value == pytest.approx(0.4, abs=0.03) for value in whole)


def test_options_of_a_latent(fitted, tmp_path, capsys):
    folder, summary = run(
        capsys, "--env", "mountaincar", "--policy", fitted.summary["checkpoint"], "--latent", "[0.5, -1.0]",
        "--method", "low_rank+int4", "--int4.per_channel", "false", "--low_rank.params", 0.5, "--distill.steps", 20, "--distill.episodes", 1,
        "--distill.held_out", 1, "--env.horizon", 20, "--episodes", 2, "--logs", tmp_path, uses=LATENT,
    )  # fmt: skip
    ranks = {key: value for key, value in summary.items() if key.startswith("rank/")}
    # A layer of 32 x 32 weights in factors of a rank r has 64 r, at most half of 1,024.
    assert all(value <= 8 for value in ranks.values())
    assert all(len(scale) == 1 for _, scale in read_stored(folder / "policy.lpz").levels().values())


def test_options_of_a_measure(tmp_path, capsys):
    env = VecNormalize(DummyVecEnv([lambda: gymnasium.make("Pendulum-v1")]))
    # Of other layers than the network that is measured by it.
    other = {"policy_kwargs": {"net_arch": [8, 8, 8]}}
    reference = PPO("MlpPolicy", env, device="cpu", **SMALL_PPO | other)
    reference.learn(32)
    reference.save(tmp_path / "dense.zip")
    env.save(str(tmp_path / "vecnormalize.pkl"))
    _, summary = run(
        capsys, "--env", "Pendulum-v1", "--env.horizon", 20, "--algorithm", "ppo", "--method", "low_rank", "--steps", 64,
        "--low_rank.error", 0.9, "--reference", tmp_path / "dense.zip", "--normalization", tmp_path / "vecnormalize.pkl",
        "--model", json.dumps({"ppo": SMALL_PPO}), "--episodes", 2, "--logs", tmp_path, uses=MEASURED,
    )  # fmt: skip
    assert summary["return_dense"] is not None and summary["normalization"].endswith("vecnormalize.pkl")
    assert summary["weights"] == 3 * 16 + 16 * 16 + 16


SMALL = {
    "steps": 60,
    "episodes": 2,
    "env": {"horizon": 12},
    "checkpoint_every": None,
    "model": {
        "sac": {"learning_starts": 20, "batch_size": 8, "policy_kwargs": ARCH},
        "ppo": {"n_envs": 2, "n_steps": 16, "batch_size": 16, "n_epochs": 1},
        "dqn": {"learning_starts": 30, "batch_size": 4, "target_update_interval": 20, "buffer_size": 100},
    },
}
"""Laid over a preset; its other keys stay."""
RUN_HERE = ("acrobot", "cartpole", "halfcheetah", "minatar-breakout", "pong", "pong-residual")
ALIKE = {
    "ant": "halfcheetah", "hopper": "halfcheetah", "walker2d": "halfcheetah", "boxing": "pong", "crazyclimber": "pong",
    "tutankham": "pong",
}  # fmt: skip
"""Presets that differ from another in the environment alone."""
NOT_SHIPPED = {"lunarlander": "Box2D", "mario": "gymnasium_mariobros", "ecmreach": "surrol"}
"""Presets of games and robots that a user installs, and the module that brings them."""


def small(name: str) -> dict:
    """Return all settings of a preset, small enough for a test, without the learners that it does not use."""
    shipped = yaml.safe_load((conf_dir() / "compress.yaml").read_text())
    settings = merge(merge(shipped, env_settings(name)), SMALL)
    used = settings["algorithm"]
    # A preset of images has a network of its own; and no argument is added that neither file has.
    own = merge(shipped["model"][used], env_settings(name).get("model", {}).get(used, {}))
    kept = {
        key: value
        for key, value in settings["model"][used].items()
        if key in own or key in ("n_envs", "n_steps", "n_epochs")
    }
    if "policy_kwargs" in kept and used != "sac":
        kept["policy_kwargs"] = own["policy_kwargs"]
    return settings | {"model": {used: kept}}


def given(tmp_path, settings) -> list:
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump(settings))
    return ["--config", path, "--logs", tmp_path / "logs", "--progress", "false"]


def test_presets_cover_all_that_is_shipped():
    run_here = set(RUN_HERE)
    assert {*run_here, *ALIKE, *NOT_SHIPPED} == set(preset_names("compress"))
    for name, other in ALIKE.items():
        one, two = env_settings(name), env_settings(other)
        assert {k: v for k, v in one.items() if k != "env"} == {k: v for k, v in two.items() if k != "env"}
        assert one["env"].keys() == two["env"].keys()
        assert find_world(one["env"]["id"]).shape


@pytest.mark.slow
@pytest.mark.parametrize("name", RUN_HERE)
def test_a_preset_runs_with_all_its_keys(name, tmp_path, capsys):
    settings = small(name)
    folder, summary = run(capsys, *given(tmp_path, settings))
    assert summary["env"] == settings["env"]["id"] and folder.parent.name == settings["env"]["name"]
    assert summary["method"] == settings["method"] and summary["return"] is not None
    shipped = yaml.safe_load((conf_dir() / "compress.yaml").read_text())["model"]
    assert yaml.safe_load((folder / "config.yaml").read_text())["model"] == shipped | settings["model"]
    if name == "pong-residual":
        network, _ = read_network(folder / "policy.lpz")
        assert "Residual" in {type(module).__name__ for module in network.modules()}


class Goal(gymnasium.Env):
    """A point on a line that is to reach another."""

    observation_space = spaces.Dict({
        key: spaces.Box(-9, 9, (size,), np.float32)
        for key, size in (("observation", 2), ("achieved_goal", 1), ("desired_goal", 1))
    })  # fmt: skip
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.goal = np.zeros(1, np.float32), self.np_random.normal(size=1).astype(np.float32)
        return self.look(), {}

    def look(self):
        return {"observation": np.repeat(self.at, 2), "achieved_goal": self.at.copy(), "desired_goal": self.goal.copy()}

    def compute_reward(self, achieved, desired, info):
        return -np.abs(achieved - desired)[..., 0]

    def step(self, action):
        self.at = self.at + 0.1 * action
        return self.look(), float(self.compute_reward(self.at, self.goal, {})), False, False, {}


class Screen(gymnasium.Env):
    """A screen in colors whose left half is bright while the agent should press 1."""

    observation_space = spaces.Box(0, 255, (90, 100, 3), np.uint8)
    action_space = spaces.Discrete(7)

    def look(self):
        image = np.zeros((90, 100, 3), np.uint8)
        image[:, :50] = 200 * int(self.bright)
        return image

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.bright = self.np_random.random() < 0.5
        return self.look(), {}

    def step(self, action):
        reward, self.bright = float(self.bright == (action == 1)), self.np_random.random() < 0.5
        return self.look(), reward, False, False, {}


STAND_INS = {"lunarlander": "CartPole-v1", "mario": Screen, "ecmreach": Goal}
"""For keys of presets whose environments are not here: one with the same kind of observations and actions."""


@pytest.mark.slow
@pytest.mark.parametrize("name", NOT_SHIPPED)
def test_keys_of_a_preset_that_needs_an_installation(name, tmp_path, capsys, monkeypatch):
    settings, stand_in = small(name), STAND_INS[name]
    monkeypatch.setattr(gymnasium.envs.registration, "registry", registry := dict(gymnasium.registry))
    monkeypatch.setattr(gymnasium, "registry", registry)
    if not is_installed(NOT_SHIPPED[name]):
        with pytest.raises(UserError, match="installed"):
            run(capsys, *given(tmp_path, settings))
    if not isinstance(stand_in, str):
        gymnasium.register("StandIn-v0", stand_in)
        stand_in = "StandIn-v0"
    settings["env"]["id"] = stand_in
    if name == "ecmreach":
        settings["model"]["sac"]["policy_kwargs"] = ARCH
    _, summary = run(capsys, *given(tmp_path, settings))
    assert summary["env"] == stand_in and summary["return"] is not None
