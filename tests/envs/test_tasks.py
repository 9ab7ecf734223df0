"""Rewards against hand formulas and MuJoCo's own kinematics; look-up; the wrapper."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pytest
import torch

from lightning_pz.common.errors import UserError
from lightning_pz.envs.policy_layout import policy_layout
from lightning_pz.envs.presets import PolicyConfig
from lightning_pz.envs.rollout import rollout
from lightning_pz.envs.simulators import Physics, Transition, make_simulator
from lightning_pz.envs.simulators.gymnasium_loop import to_action
from lightning_pz.envs.specs import env_spec
from lightning_pz.envs.tasks import TASKS, TaskWrapper, find_task, find_tasks, task_names
from lightning_pz.policy import PolicyNetwork, Prior, draw_params

IDS = {
    "MountainCarContinuous": "MountainCarContinuous-v0",
    "Reacher": "Reacher-v5",
    "Hopper": "Hopper-v5",
    "HalfCheetah": "HalfCheetah-v5",
    "CartPole": "CartPole-v1",
    "Acrobot": "Acrobot-v1",
    "MountainCar": "MountainCar-v0",
    "LunarLander": "LunarLander-v3",
}


def move(before: list[float], after: list[float], velocity: list[float], action: list[float], dt: float = 0.1):
    """Build a transition of one simulation from positions, velocities after, and an action."""
    none = np.zeros((1, 1))
    return Transition(
        none,
        np.array([action]),
        none,
        np.array([42.0]),
        np.array([False]),
        Physics(np.array([before]), np.zeros((1, len(velocity)))),
        Physics(np.array([after]), np.array([velocity])),
        dt,
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("standard", 42.0),
        ("left", -np.pi / 6 + 1.0 - 0.1 * 0.25),
        ("speed", 0.5 - 0.1 * 0.25),
        ("height", 0.45 * np.sin(-3.0) + 0.55 - 0.1 * 0.25),
    ],
)
def test_mountain_car(name: str, expected: float) -> None:
    transition = move([-0.9], [-1.0], [-0.035], [0.5])
    assert find_task("MountainCarContinuous-v0", name)(transition) == pytest.approx([expected])


@pytest.mark.parametrize(
    ("env_id", "name", "expected"),
    [
        ("Hopper-v5", "forward", 3.0 - 0.001 * 1.25),
        ("Hopper-v5", "backward", -3.0 - 0.001 * 1.25),
        ("Hopper-v5", "jump", 2.0 - 0.001 * 1.25),
        ("HalfCheetah-v5", "forward", 3.0 - 0.1 * 1.25),
        ("HalfCheetah-v5", "backward", -3.0 - 0.1 * 1.25),
        ("HalfCheetah-v5", "frontflip", -5.0 - 0.1 * 1.25),
        ("HalfCheetah-v5", "backflip", 5.0 - 0.1 * 1.25),
    ],
)
def test_robots_that_run(env_id: str, name: str, expected: float) -> None:
    transition = move([1.0, 1.0, 0.5], [1.3, 1.2, 0.0], [0.0, 0.0, 0.0], [0.5, -1.0, 0.0])
    assert find_task(env_id, name)(transition) == pytest.approx([expected])


def test_falling_is_no_jump() -> None:
    assert find_task("Hopper-v5", "jump")(move([0, 1.2, 0], [0, 1.0, 0], [0] * 3, [0.0])) == [0.0]


def test_the_half_cheetah_s_nose_goes_down_in_a_front_flip() -> None:
    env = gymnasium.make("HalfCheetah-v5").unwrapped
    heights = {}
    for pitch in (0.0, 0.3):
        qpos = np.zeros(env.model.nq)
        qpos[2] = pitch
        env.set_state(qpos, np.zeros(env.model.nv))
        torso = env.data.body("torso")
        heights[pitch] = (torso.xpos + torso.xmat.reshape(3, 3) @ [0.5, 0, 0])[2]
    env.close()
    assert heights[0.3] < heights[0.0]
    transition = move([0, 0, 0.0], [0, 0, 0.3], [0] * 3, [0.0])
    assert find_task("HalfCheetah-v5", "frontflip")(transition)[0] > 0


def test_reacher_s_velocities_are_mujoco_s() -> None:
    env = gymnasium.make("Reacher-v5").unwrapped
    generator = np.random.default_rng(0)
    for _ in range(20):
        angles, rates = generator.uniform(-3, 3, 2), generator.uniform(-50, 50, 2)
        qpos, qvel = np.array([*angles, 0.1, 0.1]), np.array([*rates, 0, 0])
        env.set_state(qpos, qvel)
        tip = mujoco.mj_name2id(env.model, mujoco.mjtObj.mjOBJ_BODY, "fingertip")
        jacobian = np.zeros((3, env.model.nv))
        mujoco.mj_jacBody(env.model, env.data, jacobian, None, tip)
        velocity, place = (jacobian @ qvel)[:2], env.data.body("fingertip").xpos[:2]
        transition = move([0, 0, 0, 0], qpos.tolist(), qvel.tolist(), [0.5, 1.0])
        speed = find_task("Reacher-v5", "speed")(transition)
        assert speed == pytest.approx([np.linalg.norm(velocity) - 1.25])
        radial = find_task("Reacher-v5", "radial")(transition)
        assert radial == pytest.approx([abs(velocity @ place) / np.linalg.norm(place) - 1.25])
    env.close()


def test_reacher_turns_one_way_or_the_other() -> None:
    transition = move([0.1, 0, 0, 0], [0.3, 0, 0, 0], [0] * 4, [0.0, 0.5])
    # Seen from above (+z), a positive angle is counterclockwise.
    assert find_task("Reacher-v5", "counterclockwise")(transition) == pytest.approx([2.0 - 0.25])
    assert find_task("Reacher-v5", "clockwise")(transition) == pytest.approx([-2.0 - 0.25])


def test_half_cheetah_s_forward_is_gymnasium_s_reward() -> None:
    simulator = make_simulator("HalfCheetah-v5", 3)
    simulator.reset([0, 1, 2])
    actions = np.random.default_rng(0).uniform(-1, 1, (3, 6)).astype(np.float32)
    transition = simulator.step(actions, np.arange(3))
    np.testing.assert_array_equal(find_task("HalfCheetah-v5", "forward")(transition), transition.rewards)


@pytest.mark.parametrize("family", sorted(TASKS))
def test_the_wrapper_pays_what_a_rollout_adds_up(family: str) -> None:
    env_id, horizon = IDS[family], 40
    spec = env_spec(env_id)
    layout = policy_layout(spec, PolicyConfig(hidden=[8]))
    low, high = torch.tensor(spec.action_low), torch.tensor(spec.action_high)
    network = PolicyNetwork(layout, torch.zeros(spec.observation_size), torch.ones(spec.observation_size), low, high)
    params = draw_params(Prior(gain=2.0), layout, 0, range(1))
    tasks = find_tasks(env_id)
    seen: list[np.ndarray] = []

    def record(transition: Transition) -> np.ndarray:
        seen.append(transition.actions[0].copy())
        return transition.rewards

    result = rollout(network, params, spec, [5], {**tasks, "record": record}, horizon=horizon)
    for name, task in tasks.items():
        env = TaskWrapper(gymnasium.make(env_id), task)
        env.reset(seed=5)
        total, standard = 0.0, 0.0
        for action in seen:
            _, reward, terminated, _, info = env.step(to_action(env, action))
            assert type(reward) is float
            total += reward
            standard += float(info["standard_reward"])
        assert total == result.returns[name][0, 0]
        assert standard == result.returns["standard"][0, 0]
        assert terminated == (len(seen) < horizon)
        env.close()


def test_names() -> None:
    assert task_names("Hopper-v5") == ("standard", "forward", "backward", "jump")
    assert task_names("Hopper-v4") == task_names("Hopper-v5")
    assert task_names("Swimmer-v5") == ("standard",)
    assert list(find_tasks("Reacher-v5", ["radial", "speed"])) == ["radial", "speed"]


def test_an_unknown_task_is_explained() -> None:
    with pytest.raises(UserError, match=r"tasks of Hopper-v5.*standard, forward.*'jmp'.*Did you mean 'jump'"):
        find_task("Hopper-v5", "jmp")


OWN = """
import numpy as np
speed = 3.0
def slow(transition):
    return -np.abs(transition.after.velocities[:, 0])
def flat(transition):
    return transition.actions
def single(transition):
    return 1.0
def words(transition):
    return ["fast"] * len(transition.rewards)
"""


@pytest.fixture
def own_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_tasks_for_tests.py").write_text(OWN)
    (tmp_path / "broken_tasks_for_tests.py").write_text("import no_such_package_for_tests")
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("own_tasks")
def test_a_task_of_one_s_own() -> None:
    task = find_task("MountainCarContinuous-v0", "own_tasks_for_tests:slow")
    assert task(move([0.0], [0.0], [-0.5], [0.0])) == pytest.approx([-0.5])


@pytest.mark.usefixtures("own_tasks")
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("own_tasks_for_tests:slw", "no such function.*Did you mean 'slow'"),
        ("own_tasks_for_tests:speed", "expected a function.*has a float"),
        ("own_tasks_for_tests:", "written 'mypackage.module:function'"),
        (":slow", "written 'mypackage.module:function'"),
        ("missing_tasks_for_tests:slow", "importing 'missing_tasks_for_tests' failed.*ModuleNotFoundError"),
        ("broken_tasks_for_tests:slow", "no_such_package_for_tests"),
    ],
)
def test_a_task_that_cannot_be_imported(path: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_task("Hopper-v5", path)


@pytest.mark.usefixtures("own_tasks")
@pytest.mark.parametrize(("name", "came"), [("flat", r"shape \(1, 2\)"), ("single", r"shape \(\)"), ("words", "list")])
def test_a_task_that_returns_the_wrong_thing(name: str, came: str) -> None:
    task = find_task("Hopper-v5", f"own_tasks_for_tests:{name}")
    with pytest.raises(UserError, match=f"one reward per simulation, an array of 1 numbers, but returned {came}"):
        task(move([0.0], [0.0], [0.0], [0.0, 0.0]))
