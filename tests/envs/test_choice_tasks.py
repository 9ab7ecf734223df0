"""Tasks of environments with chosen actions, by hand and by controllers that do what each is named after."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from lightning_pz.envs.simulators import Physics, Transition, make_simulator
from lightning_pz.envs.tasks import find_task, find_tasks, task_names

TASK_NAMES = {
    "CartPole-v1": ("standard", "left", "right", "swing"),
    "Acrobot-v1": ("standard", "height", "clockwise", "counterclockwise"),
    "MountainCar-v0": ("standard", "left", "speed", "height"),
    "LunarLander-v3": ("standard", "hover", "left", "thrifty"),
}


def move(
    positions: list[float], velocities: list[float], action: int = 0, seen: tuple[float, ...] = (0.0,)
) -> Transition:
    """Build a transition of one simulation from its physics and observation after the step."""
    before, after = Physics(*np.zeros((2, 1, 1))), Physics(np.array([positions]), np.array([velocities]))
    observation, rewards = np.array([seen]), np.array([42.0])
    return Transition(
        observation, np.array([[action]]), observation, rewards, np.array([False]), before, after, 1.0
    )  # fmt: skip


@pytest.mark.parametrize(
    ("env_id", "name", "expected"),
    [
        ("CartPole-v1", "standard", 42.0),
        ("CartPole-v1", "left", -0.5),
        ("CartPole-v1", "right", 0.5),
        ("CartPole-v1", "swing", 0.3),
        ("Acrobot-v1", "clockwise", -1.7),
        ("Acrobot-v1", "counterclockwise", 1.7),
        ("MountainCar-v0", "left", -1.2 - np.pi / 6),
        ("MountainCar-v0", "speed", 0.3 / 0.07),
        ("MountainCar-v0", "height", 0.45 * np.sin(3.6) + 0.55),
    ],
)
def test_rewards_by_hand(env_id: str, name: str, expected: float) -> None:
    assert find_task(env_id, name)(move([1.2, 0.1], [-0.3, 2.0])) == pytest.approx([expected])


@pytest.mark.parametrize(
    ("angles", "height"),
    [
        ([0, 0], 0),
        ([np.pi, 0], 4),
        ([np.pi / 2, 0], 2),
        ([0, np.pi], 2),
        ([np.pi / 2, np.pi / 2], 3),
        ([0, -np.pi / 2], 1),
    ],
)
def test_the_tip_of_an_acrobot(angles: list[float], height: float) -> None:
    assert find_task("Acrobot-v1", "height")(move(angles, [0.0, 0.0])) == pytest.approx([height])


def test_an_acrobot_turns_counterclockwise_as_gymnasium_draws_it() -> None:
    # Its second link points to (sin, -cos) of both angles, up being positive: growing ones take it to the right from below.
    points = [np.array([np.sin(angle), -np.cos(angle)]) for angle in (0.0, 0.1)]
    assert points[0][0] * points[1][1] - points[0][1] * points[1][0] > 0
    for rates in ([0.5, 0.0], [0.0, 0.5]):
        assert find_task("Acrobot-v1", "counterclockwise")(move([0.1, 0.0], rates)) == [0.5]


@pytest.mark.parametrize(("action", "fuel"), [(0, 0.0), (1, 0.03), (2, 0.3), (3, 0.03)])
def test_a_lander_pays_for_its_engines(action: int, fuel: float) -> None:
    # 3 m right of the pad and 4 m above the place to hover at.
    there = move([0.0], [], action, seen=(0.3, 1.35, 0, 0, 0, 0, 0, 0))
    assert find_task("LunarLander-v3", "hover")(there) == pytest.approx([-fuel])
    near = move([0.0], [], action, seen=(0.15, 0.75, 0, 0, 0, 0, 0, 0))
    assert find_task("LunarLander-v3", "hover")(near) == pytest.approx([1 - 1.5 / 5 - fuel])
    assert find_task("LunarLander-v3", "left")(there) == pytest.approx([-0.3 - fuel])
    assert find_task("LunarLander-v3", "thrifty")(there) == pytest.approx([42.0 - 3 * fuel])


def test_the_price_of_fuel_is_gymnasium_s() -> None:
    """Gymnasium's reward is the change of a potential, less fuel: the same on the way and back but for fuel."""
    pytest.importorskip("Box2D")
    env = gymnasium.make("LunarLander-v3").unwrapped
    for action in range(4):
        env.reset(seed=3)
        before = env.prev_shaping
        _, reward, _, _, _ = env.step(action)
        free, thrifty = (
            find_task("LunarLander-v3", name)(move([0.0], [], action))[0] for name in ("standard", "thrifty")
        )
        assert 3 * (env.prev_shaping - before - reward) == pytest.approx(free - thrifty)
    env.close()


def returns(env_id: str, act, steps: int, episodes: int = 5) -> dict[str, float]:
    """Play by a function from observations, (n, O), and the number of the step to numbers of actions; mean returns."""
    simulator, tasks = make_simulator(env_id, episodes), find_tasks(env_id)
    seen, totals, active = simulator.reset(range(episodes)), dict.fromkeys(tasks, 0.0), np.arange(episodes)
    for step in range(steps):
        actions = np.broadcast_to(np.asarray(act(seen, step), dtype=np.int64), episodes)
        transition = simulator.step(actions[active, None], active)
        seen[active] = transition.next_observations
        totals = {name: totals[name] + task(transition).sum() / episodes for name, task in tasks.items()}
        active = active[~transition.terminated]
        if not len(active):
            break
    return totals


def test_each_cart_pole_task_is_done_best_by_another_policy() -> None:
    def balance(target):
        def act(seen, step):
            place = target if np.isscalar(target) else target(step)
            return (seen - [place, 0, 0, 0]) @ [0.3, 0.5, 4.0, 1.0] > 0

        return returns("CartPole-v1", act, 500)

    centered, left, right = balance(0.0), balance(-1.5), balance(1.5)
    swinging = balance(lambda step: 1.2 if step // 60 % 2 else -1.2)
    assert centered["standard"] == left["standard"] == right["standard"] == 500
    assert left["left"] > 200 > centered["left"] > -200 > right["left"]
    assert right["right"] == pytest.approx(-right["left"])
    assert swinging["swing"] > 2 * max(both["swing"] for both in (centered, left, right))


def test_each_acrobot_task_tells_policies_apart() -> None:
    rest = returns("Acrobot-v1", lambda seen, step: 1, 500)
    pump = returns("Acrobot-v1", lambda seen, step: np.where(seen[:, 4] < 0, 2, 0), 500)
    assert rest["standard"] == -500 < -150 < pump["standard"]
    # Reaching the goal ends what height pays, and a swing up to there earns more in less time than rest.
    assert rest["height"] < 10 < pump["height"] / 2
    assert abs(rest["clockwise"]) < 1
    assert rest["clockwise"] == pytest.approx(-rest["counterclockwise"])


def test_each_mountain_car_task_tells_policies_apart() -> None:
    rest, push = (returns("MountainCar-v0", lambda seen, step, a=action: a, 200) for action in (1, 0))
    rock = returns("MountainCar-v0", lambda seen, step: np.where(seen[:, 1] < 0, 0, 2), 200)
    assert rest["standard"] == push["standard"] == -200 < -130 < rock["standard"]
    assert push["left"] > 20 > rest["left"]
    assert rock["speed"] / -rock["standard"] > 2 * rest["speed"] / 200
    assert push["height"] > 1.5 * rest["height"]


@pytest.mark.parametrize("env_id", sorted(TASK_NAMES))
def test_names(env_id: str) -> None:
    assert task_names(env_id) == TASK_NAMES[env_id]
