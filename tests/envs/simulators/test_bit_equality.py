"""The fast simulators against Gymnasium, to the last bit, over whole episodes."""

from __future__ import annotations

import functools

import gymnasium
import numpy as np
import pytest

from lightning_pz.envs.simulators import make_simulator
from lightning_pz.envs.simulators.mujoco_tables import MUJOCO_FORMULAS
from lightning_pz.envs.specs import env_spec

SEEDS = (0, 1, 2, 3, 12345)
# Whole episodes: to the horizon, or to where they end early.
STEPS = dict.fromkeys(MUJOCO_FORMULAS, 1000) | {
    "Reacher-v5": 50,
    "MountainCarContinuous-v0": 999,
    "Pendulum-v1": 200,
}
ENDS_EARLY = {
    "Hopper-v5",
    "Walker2d-v5",
    "Ant-v5",
    "InvertedPendulum-v5",
    "InvertedDoublePendulum-v5",
    "MountainCarContinuous-v0",
}


def draw_actions(env_id: str, seed: int) -> np.ndarray:
    """Random float32 actions that are held for some steps, (steps, A), so that robots move and fall."""
    spec, steps = env_spec(env_id), STEPS[env_id]
    generator = np.random.default_rng(seed)
    raw = generator.uniform(spec.action_low, spec.action_high, size=(steps // 3 + 1, spec.action_size))
    actions = np.repeat(raw, 3, axis=0)[:steps].astype(np.float32)
    if env_id == "MountainCarContinuous-v0" and seed % 2:
        # Push outside the box, with a rhythm that reaches the goal.
        actions = 1.3 * np.sign(np.sin(np.arange(steps) / 33 * np.pi / 2 + 2.5))[:, None].astype(np.float32)
    if env_id == "Ant-v5" and seed % 2:
        actions = np.sign(actions)
    return actions


@functools.cache
def gymnasium_episode(env_id: str, seed: int) -> dict[str, np.ndarray]:
    actions = draw_actions(env_id, seed)
    env = gymnasium.make(env_id, max_episode_steps=-1)
    observations, rewards, ended, positions = [env.reset(seed=seed)[0]], [], [], []
    data = getattr(env.unwrapped, "data", None)
    for action in actions:
        observation, reward, terminated, _, _ = env.step(action)
        observations.append(observation)
        rewards.append(float(reward))
        ended.append(terminated)
        positions.append(data.qpos.copy() if data is not None else np.array(env.unwrapped.state)[:1])
        if terminated:
            break
    env.close()
    return {
        "observations": np.array(observations, dtype=np.float64),
        "rewards": np.array(rewards),
        "terminated": np.array(ended),
        "positions": np.array(positions, dtype=np.float64),
    }


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("env_id", sorted(STEPS))
def test_episodes_equal_gymnasium_to_the_last_bit(env_id: str, threads: int) -> None:
    actions = np.stack([draw_actions(env_id, seed) for seed in SEEDS])
    wanted = [gymnasium_episode(env_id, seed) for seed in SEEDS]
    simulator = make_simulator(env_id, size=len(SEEDS), threads=threads)
    observations = simulator.reset(SEEDS)
    for slot, episode in enumerate(wanted):
        np.testing.assert_array_equal(observations[slot], episode["observations"][0])
    active = np.arange(len(SEEDS))
    for step in range(STEPS[env_id]):
        transition = simulator.step(actions[active, step], active)
        for row, slot in enumerate(active):
            episode = wanted[slot]
            where = f"slot {slot} step {step}"
            np.testing.assert_array_equal(transition.observations[row], episode["observations"][step], where)
            np.testing.assert_array_equal(transition.next_observations[row], episode["observations"][step + 1], where)
            assert transition.rewards[row] == episode["rewards"][step], where
            assert transition.terminated[row] == episode["terminated"][step], where
            np.testing.assert_array_equal(transition.after.positions[row], episode["positions"][step], where)
        active = active[~transition.terminated]
        if not len(active):
            break
    ended = sum(episode["terminated"][-1] for episode in wanted)
    assert ended >= 2 if env_id in ENDS_EARLY else ended == 0
