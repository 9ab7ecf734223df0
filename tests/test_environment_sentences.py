"""Ids, modules, horizons and boxes that cannot be used end in a sentence."""

import os
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import odd_environments
import pytest

from lightning_pz import collect, compress, fit
from lightning_pz.common.errors import UserError
from lightning_pz.envs.episodes import record_episodes
from lightning_pz.envs.rollout import rollout
from lightning_pz.envs.simulators import make_simulator
from lightning_pz.envs.specs import env_spec, make_env
from lightning_pz.envs.tasks import find_task, find_tasks, task_names
from lightning_pz.policy import Prior, draw_params
from tests.conftest import network_of


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.filterwarnings("ignore:.*out of date")
def test_old_mujoco_ids_name_the_new_one(version):
    with pytest.raises(UserError, match=r"needs a package that is not installed: .*Did you mean 'Hopper-v5'"):
        env_spec(f"Hopper-v{version}")


def test_a_module_that_is_not_there_or_fails(tmp_path, monkeypatch):
    (tmp_path / "half_written.py").write_text("def environment(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    for module, sentence in (
        ("no_such_module", "ModuleNotFoundError"),
        ("half_written", "SyntaxError"),
        ("", "ValueError"),
    ):
        with pytest.raises(UserError, match=f"importing '{module}'.* failed with {sentence}"):
            env_spec(f"{module}:PointMass-v0")


@pytest.mark.parametrize("horizon", ["0", "-5"])
@pytest.mark.parametrize("main", [collect.main, fit.main, compress.main])
def test_a_horizon_below_one_is_refused(main, horizon, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"--env.horizon expects at least 1, but got {horizon}"):
        main(["--env", "mountaincar", "--env.horizon", horizon])
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_advice_for_unbounded_actions_works_as_it_is_written(monkeypatch):
    """Its very words, with names filled in."""
    with pytest.raises(UserError) as told:
        env_spec("odd_environments:UnboundedActions-v0")
    code = "gymnasium.register" + str(told.value).partition("gymnasium.register")[2]
    code = code.replace("ACTIONS", "2").replace("STEPS", "30")
    # One of the odd ones, which does the same in a class of its own; it is back after the test, however that ends.
    monkeypatch.delitem(gymnasium.registry, "Bounded-v0")
    exec(code, {"gymnasium": gymnasium, "MyEnv": odd_environments.acts.UnboundedActions})
    spec = env_spec("Bounded-v0")
    assert (spec.action_low, spec.action_high, spec.horizon) == ((-1, -1), (1, 1), 30)
    assert make_env("Bounded-v0").reset(seed=0)[0].shape == (3,)


def test_tasks_of_shipped_environments_stay_with_them():
    assert task_names("Hopper-v5") == ("standard", "forward", "backward", "jump")
    for other in (
        "odd_environments:Hopper-variant-v0",
        "Hopper-variant-v0",
        "mine/Hopper-v5",
        "mine:Hopper-v5",
        "Hopper",
    ):
        assert task_names(other) == ("standard",)


def test_a_task_that_raises_names_itself_the_environment_step_and_seed(tmp_path, monkeypatch):
    (tmp_path / "failing_task.py").write_text(
        "calls = []\ndef late(t):\n    calls.append(1)\n    return t.rewards if len(calls) < 4 else 1 / 0\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    spec = env_spec("odd_environments:PointMass-v0")
    network = network_of(spec)
    params = draw_params(Prior(), network.layout, 0, range(2))
    where = r"task 'failing_task:late' raised ZeroDivisionError: division by zero \(.*failing_task.py, line 4\) on "
    where += r"odd_environments:PointMass-v0, in step {} of {} episode.* with seed {}: mend the task"
    with pytest.raises(UserError, match=where.format(4, 6, 7)):
        rollout(network, params, spec, [7, 8, 9], find_tasks(spec.id, ["failing_task:late"]))
    task = find_task(spec.id, "failing_task:late")
    with pytest.raises(UserError, match=where.format(1, 1, 5)):
        record_episodes(lambda seen, active: np.zeros((1, 2), np.float32), make_simulator(spec, 1), [5], task, 10)


def test_the_real_command_takes_a_module_and_exits_with_2():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    command = [sys.executable, "-m", "lightning_pz.collect", "--env", "odd_environments:PinnedAction-v0"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 2 and done.stderr.startswith("error: --env odd_environments:PinnedAction-v0")
    assert done.stderr.count("\n") == 1
