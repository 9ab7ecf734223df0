"""Which simulator an environment gets, wherever its packages are installed, and what is said of a slow one."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import gymnasium
import pytest
from gymnasium.envs.classic_control.continuous_mountain_car import Continuous_MountainCarEnv

from lightning_pz.collect import main
from lightning_pz.envs.simulators import make_simulator, slow_note
from lightning_pz.envs.simulators.gymnasium_loop import GymnasiumSimulator
from lightning_pz.envs.specs import env_spec

SCRIPT = """
from lightning_pz.envs.simulators import make_simulator
from lightning_pz.envs.specs import env_spec
for name in ("HalfCheetah-v5", "MountainCarContinuous-v0", "CartPole-v1"):
    print(type(make_simulator(name, 1)).__name__, env_spec(name).source or "no source")
"""


def test_packages_on_pythonpath_get_the_fast_simulators():
    """As a cluster's modules and containers have them: the interpreter's own folders hold none of our packages."""
    root = Path(__file__).parents[3]
    paths = [str(root), *dict.fromkeys(sysconfig.get_paths()[key] for key in ("purelib", "platlib"))]
    done = subprocess.run(
        [sys._base_executable, "-c", SCRIPT], env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},  # type: ignore[attr-defined]
        capture_output=True, text=True, check=True, cwd="/",
    )  # fmt: skip
    assert done.stdout.split("\n")[:3] == [
        "MujocoSimulator no source", "MountainCarSimulator no source", "ChoiceSimulator no source",
    ]  # fmt: skip


class Own(Continuous_MountainCarEnv):
    """The same environment, by a class of the user's."""


@pytest.fixture
def registered_anew():
    before = gymnasium.registry["MountainCarContinuous-v0"]
    del gymnasium.registry["MountainCarContinuous-v0"]
    gymnasium.register("MountainCarContinuous-v0", Own, max_episode_steps=999)
    yield
    gymnasium.registry["MountainCarContinuous-v0"] = before


def test_what_is_stepped_slowly_says_so(registered_anew, tmp_path, capsys):
    spec = env_spec("MountainCarContinuous-v0")
    assert isinstance(make_simulator(spec, 1), GymnasiumSimulator)
    words = [
        "--env",
        "mountaincar",
        "--candidates",
        "20",
        "--env.horizon",
        "20",
        "--states.probe",
        "4",
        "--states.train",
        "4",
    ]
    words += ["--states.val", "4", "--states.test", "4", "--states.episodes", "2", "--logs", str(tmp_path)]
    for _ in range(2):  # a pool that is there takes no time
        main(words)
    said = capsys.readouterr().err
    assert said.count("note: MountainCarContinuous-v0 is not as Gymnasium registers it") == 1


def test_arguments_are_named_where_they_are_in_the_way():
    given = env_spec("MountainCarContinuous-v0", None, {"goal_velocity": 0.01})
    assert "has arguments other than Gymnasium's" in str(slow_note(given))
    for fast in (
        "HalfCheetah-v5",
        "MountainCarContinuous-v0",
        "CartPole-v1",
        "Humanoid-v5",
    ):  # the last has no fast one
        assert slow_note(env_spec(fast)) is None
    assert slow_note(env_spec("HalfCheetah-v5", None, {"frame_skip": 3})) is None
