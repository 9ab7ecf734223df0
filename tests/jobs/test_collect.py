"""The collect job as it is typed: the command that it ends with runs, whatever it was asked for."""

import json
import shlex
import sys
import types
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from lightning_pz import collect, fit
from lightning_pz.common.errors import UserError
from lightning_pz.envs.presets import preset_names, resolve_env, short_name

SMALL = ["--candidates", "60", "--neighbors", "5", "--states", "{probe: 16, train: 24, val: 12, test: 12, episodes: 4}"]
GROWN = [
    "--recipe", "grown", "--steps", "6000", "--first", "40", "--size", "60", "--horizon", "20", "--directions", "2",
    "--population", "4", "--generations", "3", "--neighbors", "5", "--threads", "1",
    "--states", "{probe: 16, train: 24, val: 12, test: 12}",
]  # fmt: skip
QUICK = [
    "--trainer.max_steps", "20", "--trainer.log_every_n_steps", "5", "--data.steps_per_epoch", "10", "--data.batch_size", "16", "--probes.enabled", "false",
    "--model.encoder_widths", "[8]", "--model.decoder_widths", "[8]",
]  # fmt: skip


class Point(gymnasium.Env):
    """Three numbers that follow two actions."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._state = self.np_random.standard_normal(3).astype(np.float32)
        return self._state.copy(), {}

    def step(self, action):
        self._state = 0.95 * self._state + 0.1 * np.append(action, action.sum()).astype(np.float32)
        return self._state.copy(), float(self._state[0]), False, False, {}


@pytest.fixture(scope="module", autouse=True)
def environments():
    module = types.ModuleType("collected_envs")
    sys.modules["collected_envs"] = module
    for env_id in ("mine/Point-v0", "Point_A-v0", "EndlessPoint-v0"):
        limit = None if env_id == "EndlessPoint-v0" else 50
        gymnasium.register(env_id, entry_point=Point, max_episode_steps=limit)
    yield
    for env_id in ("mine/Point-v0", "Point_A-v0", "EndlessPoint-v0"):
        del gymnasium.registry[env_id]
    del sys.modules["collected_envs"]


def next_command(capsys):
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("  next: "))
    return shlex.split(line.removeprefix("  next: "))


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["--env", "mountaincar", "--policy", "small", *SMALL],
        ["--env", "mountaincar", "--policy", "small", "--env.horizon", "30", *SMALL],
        ["--env", "Pendulum-v1", *SMALL],
        ["--env", "mine/Point-v0", "--policy.hidden", "[3,2]", "--policy.activation", "relu", *SMALL],
        ["--env", "collected_envs:Point_A-v0", "--policy.name", "affine", "--policy.hidden", "[]", *SMALL],
        ["--env", "EndlessPoint-v0", "--env.horizon", "20", "--policy", "small", *SMALL],
        [
            "--env",
            "Point_A-v0",
            "--env.name",
            "point",
            "--policy",
            "small",
            *SMALL,
            "--keep",
            "0.2",
            "--store",
            "params",
        ],
        ["--env", "mountaincar", "--policy", "small", *SMALL, "--states.probe", "5"],
        ["--env", "mountaincar", "--policy", "small", *GROWN],
    ],
    ids=[
        "preset",
        "horizon",
        "id",
        "namespace and widths",
        "module and affine",
        "endless",
        "few and name",
        "few probe states",
        "grown",
    ],
)
def test_the_next_command_runs(arguments, tmp_path, capsys):
    logs = str(tmp_path / "lo gs")
    collect.main([*arguments, "--logs", logs])
    words = next_command(capsys)
    assert words[:3] == ["python", "-m", "lightning_pz.fit"]
    done = fit.main([*words[3:], *QUICK])
    assert done.folder.is_relative_to(logs) and done.summary["pool"].startswith(logs)


def test_too_few_policies_to_fit_are_told(tmp_path, capsys):
    collect.main(["--env", "mountaincar", *SMALL, "--keep", "0.05", "--logs", str(tmp_path)])
    assert "next: a pool of 6 policies or more" in capsys.readouterr().out


def test_a_pool_that_is_there_is_found_or_refused(tmp_path, capsys):
    arguments = ["--env", "mountaincar", "--policy", "small", *SMALL, "--logs", str(tmp_path)]
    collect.main(arguments)
    capsys.readouterr()
    collect.main(arguments)
    out = capsys.readouterr().out
    assert "was there already" in out
    pool = out.strip().splitlines()[-1]
    for change, difference in (
        (["--seed", "1"], r"recipe\.seed is 0, not 1"),
        (["--env.horizon", "9"], r"env\.horizon is 999"),
    ):
        with pytest.raises(UserError, match=difference):
            collect.main([*arguments, *change, "--pool", pool])
        with pytest.raises(UserError, match=r"env\.horizon is 999, not 9"):
            fit.main(["--env", "mountaincar", "--policy", "small", "--env.horizon", "9", "--data.pool", pool])


class Wide(Point):
    """The same, edited: its action box is twice as wide."""

    action_space = gymnasium.spaces.Box(-2, 2, (2,), np.float32)


@pytest.mark.parametrize(
    "change",
    [{"entry_point": Wide}, {"max_episode_steps": 40}, {"kwargs": {"render_mode": None}}],
    ids=["action box", "horizon", "arguments"],
)
def test_an_environment_edited_under_its_id_gets_another_pool(change, tmp_path, capsys, monkeypatch):
    registration = {"entry_point": Point, "max_episode_steps": 50}
    monkeypatch.setattr(Point, "__init__", lambda self, render_mode=None: None)
    pools = []
    for changed in ({}, change, {}):
        gymnasium.registry.pop("Edited-v0", None)
        gymnasium.register("Edited-v0", **(registration | changed))
        collect.main(["--env", "Edited-v0", "--policy", "small", *SMALL, "--logs", str(tmp_path)])
        pools.append(capsys.readouterr().out.strip().splitlines()[-1])
    del gymnasium.registry["Edited-v0"]
    assert pools[0] == pools[2] != pools[1]
    high = [json.loads(Path(pool, "pool.json").read_text())["env"]["action_high"] for pool in pools[:2]]
    assert high == [[1.0, 1.0], [2.0, 2.0] if "entry_point" in change else [1.0, 1.0]]


def test_a_pool_of_another_numpy_is_refused_before_the_training(tmp_path, capsys):
    """Also where only the linear references, after the training, would have drawn its weights."""
    collect.main(["--env", "mountaincar", "--policy", "small", *SMALL, "--logs", str(tmp_path)])
    words = next_command(capsys)
    path = Path(words[words.index("--data.pool") + 1], "pool.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"params_checksum": "of another NumPy"}))
    with pytest.raises(UserError, match="draws other numbers"):
        fit.main([*words[3:], *QUICK])
    assert not (tmp_path / "fit").exists()


def test_names_of_environments_are_never_shared():
    ids = [
        *gymnasium.registry, "pendulum-v1", "pendulum-v1-", "Halfcheetah", "halfcheetah", "a/b-v0", "a-b-v0", "a:b-v0",
        "A_b-v0", "a_b-v0", "../up-v0", "collected_envs:Point_A-v0",
    ]  # fmt: skip
    names = [short_name(env_id) for env_id in ids] + preset_names("env")
    assert len({*names}) == len(ids) + len(preset_names("env"))
    assert all("/" not in name and not name.startswith(".") for name in names)
    assert short_name("Pendulum-v1") == "pendulum-v1"  # as folders were named before
    assert resolve_env("Pendulum-v1") == {"env": {"name": "pendulum-v1", "id": "Pendulum-v1"}}
