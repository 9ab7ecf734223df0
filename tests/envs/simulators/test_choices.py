"""Environments with chosen actions against Gymnasium, to the last bit, over whole episodes."""

from __future__ import annotations

import warnings

import gymnasium
import numpy as np
import pytest

from lightning_pz.envs.simulators import make_simulator
from lightning_pz.envs.simulators.classic_choices import CHOICE_FORMULAS, ChoiceSimulator
from lightning_pz.envs.simulators.gymnasium_loop import GymnasiumSimulator, control_seconds, read_physics
from lightning_pz.envs.specs import EnvSpec, env_spec

STEPS = {"CartPole-v1": 500, "Acrobot-v1": 500, "MountainCar-v0": 200}
"""To the registered limit."""
SEEDS = (*range(20), 12345)


def script(env_id: str, observation: np.ndarray) -> int:
    """Act so that the task is done: balance, pump, rock."""
    if env_id == "CartPole-v1":
        return int(observation @ [0.02, 0.1, 1.0, 0.4] > 0)
    if env_id == "Acrobot-v1":
        return 2 if observation[4] < 0 else 0
    return 2 if observation[1] >= 0 else 0


def choose(env_id: str, seed: int) -> np.ndarray:
    """Random choices for one episode, (steps,); of every other seed held for some steps, so that links turn over."""
    generator, count = np.random.default_rng(seed), env_spec(env_id).choices[0]
    held = 1 + 7 * (seed % 2)
    return np.repeat(generator.integers(0, count, STEPS[env_id] // held + 1), held)[: STEPS[env_id]]


@pytest.mark.parametrize("scripted", [False, True], ids=["random", "scripted"])
@pytest.mark.parametrize("env_id", sorted(CHOICE_FORMULAS))
def test_episodes_equal_gymnasium_to_the_last_bit(env_id: str, scripted: bool) -> None:
    simulator = make_simulator(env_id, len(SEEDS))
    assert isinstance(simulator, ChoiceSimulator)
    seen = simulator.reset(SEEDS)
    envs = [gymnasium.make(env_id, max_episode_steps=-1) for _ in SEEDS]
    wanted = np.array([env.reset(seed=seed)[0] for env, seed in zip(envs, SEEDS, strict=True)], dtype=np.float64)
    np.testing.assert_array_equal(seen, wanted)
    drawn = np.stack([choose(env_id, seed) for seed in SEEDS])
    active, ended = np.arange(len(SEEDS)), 0
    for step in range(STEPS[env_id]):
        chosen = [script(env_id, wanted[slot]) if scripted else drawn[slot, step] for slot in active]
        before = [read_physics(envs[slot], wanted[slot]) for slot in active]
        results = [envs[slot].step(int(action)) for slot, action in zip(active, chosen, strict=True)]
        transition = simulator.step(np.array(chosen, dtype=np.int64)[:, None], active)
        np.testing.assert_array_equal(transition.observations, wanted[active])
        wanted[active] = [result[0] for result in results]
        np.testing.assert_array_equal(transition.next_observations, wanted[active], f"step {step}")
        np.testing.assert_array_equal(transition.rewards, [float(result[1]) for result in results], f"step {step}")
        np.testing.assert_array_equal(transition.terminated, [result[2] for result in results], f"step {step}")
        after = [read_physics(envs[slot], wanted[slot]) for slot in active]
        for ours, theirs in ((transition.before, before), (transition.after, after)):
            np.testing.assert_array_equal(ours.positions, [physics.positions for physics in theirs])
            np.testing.assert_array_equal(ours.velocities, [physics.velocities for physics in theirs])
        assert transition.dt == control_seconds(envs[0])
        ended += int(transition.terminated.sum())
        active = active[~transition.terminated]
        if not len(active):
            break
    for env in envs:
        env.close()
    # Random choices drop the pole and scripted ones hold it; on the others it is the other way round.
    assert ended == len(SEEDS) if (env_id == "CartPole-v1") != scripted else ended < len(SEEDS) / 2


@pytest.mark.parametrize("env_id", sorted(CHOICE_FORMULAS))
def test_steps_after_the_end_equal_gymnasium_s_as_well(env_id: str) -> None:
    simulator = make_simulator(env_id, 3)
    simulator.reset([4, 5, 6])
    envs = [gymnasium.make(env_id, max_episode_steps=-1).unwrapped for _ in range(3)]
    seen = [env.reset(seed=seed)[0] for env, seed in zip(envs, (4, 5, 6), strict=True)]
    ends, paid = 0, set()
    for step in range(250):
        # The first episode ends long before the others, and goes on.
        chosen = [
            script(env_id, o) if env_id != "CartPole-v1" or slot else step % 40 < 30 for slot, o in enumerate(seen)
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Gymnasium warns of such steps
            results = [env.step(int(action)) for env, action in zip(envs, chosen, strict=True)]
        seen = [result[0] for result in results]
        transition = simulator.step(np.array(chosen, dtype=np.int64)[:, None], np.arange(3))
        np.testing.assert_array_equal(transition.next_observations, seen)
        np.testing.assert_array_equal(transition.rewards, [result[1] for result in results])
        np.testing.assert_array_equal(transition.terminated, [result[2] for result in results])
        ends += int(transition.terminated.sum())
        paid |= set(transition.rewards.tolist())
    assert ends > 1
    assert len(paid) == (1 if env_id == "MountainCar-v0" else 2)


@pytest.mark.parametrize("env_id", sorted(CHOICE_FORMULAS))
def test_starts_equal_gymnasium_for_many_seeds(env_id: str) -> None:
    seeds, env = range(1000), gymnasium.make(env_id)
    wanted = np.array([env.reset(seed=seed)[0] for seed in seeds], dtype=np.float64)
    np.testing.assert_array_equal(make_simulator(env_id, 1000).reset(seeds), wanted)
    env.close()


def test_an_acrobot_turns_over_as_gymnasium_s_does() -> None:
    """Angles that wrap more than once, and rates at their limits."""
    simulator, env = make_simulator("Acrobot-v1", 500), gymnasium.make("Acrobot-v1").unwrapped
    simulator.reset(range(500))
    states = np.random.default_rng(0).uniform(-1, 1, (500, 4)) * np.pi * [4, 4, 4, 9]
    for column, values in zip(simulator._state, states.T, strict=True):
        column[:] = values
    chosen = np.arange(500) % 3
    transition = simulator.step(chosen[:, None], np.arange(500))
    found = np.concatenate(transition.after, axis=1)
    env.reset(seed=0)
    for state, choice, ours in zip(states, chosen, found, strict=True):
        env.state = state.copy()
        env.step(int(choice))
        np.testing.assert_array_equal(ours, env.state)
    assert (np.abs(found[:, 3]) == 9 * np.pi).any() and (np.abs(states[:, 1]) > 3 * np.pi).any()


@pytest.mark.parametrize(
    ("env_id", "kwargs"), [("CartPole-v1", {"sutton_barto_reward": True}), ("MountainCar-v0", {"goal_velocity": 0.02})]
)
def test_other_arguments_under_a_known_id_are_left_to_gymnasium(
    env_id, kwargs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(gymnasium.registry, env_id, gymnasium.registry[env_id])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Gymnasium warns of a second registration
        gymnasium.register(env_id, gymnasium.registry[env_id].entry_point, kwargs=kwargs, max_episode_steps=9)
    simulator = make_simulator(env_id, 2)
    assert type(simulator) is GymnasiumSimulator and simulator.spec.horizon == 9
    simulator.reset([0, 1])
    transition = simulator.step(np.ones((2, 1), dtype=np.int64), np.arange(2))
    assert transition.rewards.tolist() == [0.0, 0.0] if env_id == "CartPole-v1" else [-1.0, -1.0]
    assert transition.after.positions.shape[1] == len(CHOICE_FORMULAS[env_id].positions)


def test_a_class_of_one_s_own_under_a_known_id_is_left_to_gymnasium() -> None:
    known = env_spec("Pendulum-v1")
    own = EnvSpec(**{**known.to_dict(), "source": "0123456789abcdef"})
    assert type(make_simulator(own, 1)) is GymnasiumSimulator


def test_lunar_lander_lands_in_gymnasium_itself() -> None:
    pytest.importorskip("Box2D")
    from gymnasium.envs.box2d.lunar_lander import heuristic

    simulator, seeds = make_simulator("LunarLander-v3", 3), (0, 1, 2)
    assert type(simulator) is GymnasiumSimulator
    for _ in range(2):  # the second time in worlds that were used before
        seen, total, active = simulator.reset(seeds), np.zeros(3), np.arange(3)
        fresh = [gymnasium.make("LunarLander-v3", max_episode_steps=-1) for _ in seeds]
        theirs = np.array([env.reset(seed=seed)[0] for env, seed in zip(fresh, seeds, strict=True)], dtype=np.float64)
        np.testing.assert_array_equal(seen, theirs)
        for _ in range(400):
            chosen = [heuristic(fresh[slot].unwrapped, theirs[slot]) for slot in active]
            transition = simulator.step(np.array(chosen, dtype=np.int64)[:, None], active)
            for row, (slot, choice) in enumerate(zip(active, chosen, strict=True)):
                theirs[slot], reward, ended, _, _ = fresh[slot].step(int(choice))
                assert (transition.rewards[row], transition.terminated[row]) == (reward, ended)
            np.testing.assert_array_equal(transition.next_observations, theirs[active])
            total[active] += transition.rewards
            active = active[~transition.terminated]
            if not len(active):
                break
        assert (total > 200).sum() >= 2 and not len(active)
    assert transition.dt == 0.02
