"""MuJoCo environments with other arguments, on the fast simulators, against Gymnasium to the last bit."""

from pathlib import Path

import gymnasium
import numpy as np
import pytest

from lightning_pz.common.errors import UserError
from lightning_pz.envs.arguments import by_content, located
from lightning_pz.envs.presets import EnvConfig
from lightning_pz.envs.simulators import make_simulator
from lightning_pz.envs.simulators.gymnasium_loop import GymnasiumSimulator
from lightning_pz.envs.simulators.mujoco import MujocoSimulator
from lightning_pz.envs.simulators.mujoco_tables import MUJOCO_FORMULAS
from lightning_pz.envs.specs import env_spec

MODELS = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"
RUNNER = {
    "frame_skip": 3, "forward_reward_weight": 1.7, "ctrl_cost_weight": 0.3, "reset_noise_scale": 0.05,
    "exclude_current_positions_from_observation": False,
}  # fmt: skip
UPRIGHT = RUNNER | {"healthy_reward": 0.3, "healthy_z_range": [0.5, 1.2]}
ARGUMENTS = {
    "HalfCheetah-v5": [RUNNER],
    "Swimmer-v5": [RUNNER],
    "Hopper-v5": [
        UPRIGHT | {"healthy_angle_range": [-0.1, 0.15], "healthy_state_range": [-4.0, 9.0]},
        {"terminate_when_unhealthy": False},
    ],
    "Walker2d-v5": [UPRIGHT | {"healthy_angle_range": [-0.4, 0.6]}, {"terminate_when_unhealthy": False}],
    "InvertedPendulum-v5": [{"frame_skip": 1, "reset_noise_scale": 0.03}],
    "InvertedDoublePendulum-v5": [{"frame_skip": 3, "reset_noise_scale": 0.02, "healthy_reward": 3.3}],
    "Reacher-v5": [{"frame_skip": 4, "reward_dist_weight": 2.3, "reward_control_weight": 0.7}],
    "Ant-v5": [
        UPRIGHT | {"contact_cost_weight": 3e-3, "contact_force_range": [-0.4, 0.7], "main_body": "front_left_leg"},
        {"include_cfrc_ext_in_observation": False, "terminate_when_unhealthy": False},
    ],
}  # fmt: skip
CASES = [(name, number) for name, several in ARGUMENTS.items() for number in range(len(several))]


def edited(folder, file, *pairs):
    """Write a model of Gymnasium's with some of its text replaced; return its path."""
    text = (MODELS / file).read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    (folder / file).write_text(text)
    return str(folder / file)


def compare(env_id, given, steps=300, seeds=(0, 1, 2, 3)):
    """Play random episodes in both; return how many of them ended."""
    spec = env_spec(env_id, None, given)
    simulator = make_simulator(spec, len(seeds), threads=2)
    assert isinstance(simulator, MujocoSimulator)
    draws = np.random.default_rng(0).uniform(
        spec.action_low, spec.action_high, (steps // 3 + 1, len(seeds), spec.action_size)
    )
    actions = np.repeat(draws, 3, axis=0)[:steps].astype(np.float32)
    envs = [gymnasium.make(env_id, max_episode_steps=-1, **given) for _ in seeds]
    starts = [env.reset(seed=seed)[0] for env, seed in zip(envs, seeds, strict=True)]
    np.testing.assert_array_equal(simulator.reset(seeds), starts)
    active = np.arange(len(seeds))
    for step in range(steps):
        found = simulator.step(actions[step, active], active)
        for row, slot in enumerate(active):
            observation, reward, terminated, _, _ = envs[slot].step(actions[step, slot])
            np.testing.assert_array_equal(found.next_observations[row], observation, f"slot {slot} step {step}")
            assert found.rewards[row] == reward and found.terminated[row] == terminated, f"slot {slot} step {step}"
        active = active[~found.terminated]
        if not len(active):
            break
    for env in envs:
        env.close()
    return len(seeds) - len(active)


@pytest.mark.parametrize(("env_id", "number"), CASES)
def test_arguments_change_nothing_but_what_gymnasium_changes(env_id, number):
    given = ARGUMENTS[env_id][number]
    ended = compare(env_id, given)
    assert bool(ended) == (
        env_id not in ("HalfCheetah-v5", "Swimmer-v5", "Reacher-v5") and "terminate_when_unhealthy" not in given
    )
    assert set(ARGUMENTS) == set(MUJOCO_FORMULAS)


def test_a_robot_of_the_user_s_own(tmp_path):
    """A cheetah with longer legs, and a Reacher whose bodies have other numbers."""
    longer = edited(tmp_path, "half_cheetah.xml", ('size="0.046 .15"', 'size="0.046 .19"'))
    compare("HalfCheetah-v5", {"xml_file": longer, "frame_skip": 4})
    own = '<body name="stone" pos="0 0 1"><geom type="sphere" size=".01"/></body>\n\t\t<body name="body0"'
    moved = edited(tmp_path, "reacher.xml", ('<body name="body0"', own))
    compare("Reacher-v5", {"xml_file": moved})
    other = np.array([env_spec("HalfCheetah-v5", None, {"xml_file": longer}).kwargs, env_spec("HalfCheetah-v5").kwargs])
    assert other[0] != other[1]


def test_an_environment_is_known_by_what_its_files_say(tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path)
    old, new = '="0.046 .15"', '="0.046 .19"'
    here, there = (
        edited(tmp_path, "half_cheetah.xml", (old, new)),
        edited(tmp_path / "there", "half_cheetah.xml", (old, new)),
    )
    one, other = (env_spec("HalfCheetah-v5", None, {"xml_file": path}) for path in (here, there))
    assert one.identity() == other.identity() and one.arguments["xml_file"] == here and other.given != one.given
    # A name alone is a file of the current folder, which is gone when the command runs elsewhere.
    named = env_spec(
        "HalfCheetah-v5", None, EnvConfig("a", "HalfCheetah-v5", kwargs={"xml_file": "half_cheetah.xml"}).kwargs
    )
    assert named == one and named.make().unwrapped.fullpath == here
    edited(tmp_path, "half_cheetah.xml", (old, '="0.046 .2"'))
    # What began with the old one does not go on with the new one, whichever way it makes its environment.
    for make in (one.make, lambda: make_simulator(one, 2), lambda: GymnasiumSimulator(one, 2).reset([0])):
        with pytest.raises(UserError, match=r"xml_file .*half_cheetah\.xml was edited since this run began"):
            make()
    assert env_spec("HalfCheetah-v5", None, one.arguments).identity() != one.identity()
    # Gymnasium's own files are known by their names.
    assert "content" not in env_spec("HalfCheetah-v5", None, {"xml_file": "half_cheetah.xml"}).kwargs


def test_other_environments_take_arguments_too():
    spec = env_spec("MountainCarContinuous-v0", None, {"goal_velocity": 0.01})
    simulator = make_simulator(spec, 2)
    assert isinstance(simulator, GymnasiumSimulator)
    simulator.reset([0, 1])
    assert simulator._envs[1].unwrapped.goal_velocity == 0.01
    assert spec.identity() != env_spec("MountainCarContinuous-v0").identity()


def test_files_in_lists_count_by_what_they_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("one")
    env = gymnasium.make("MountainCarContinuous-v0")
    found = located({"tables": [{"first": "a.txt"}, "b.txt", 3]})
    assert found == {"tables": [{"first": str(tmp_path / "a.txt")}, "b.txt", 3]}
    before = by_content(env, found)
    (tmp_path / "a.txt").write_text("two")
    assert by_content(env, found) != before and str(tmp_path) not in str(before)
    env.close()
