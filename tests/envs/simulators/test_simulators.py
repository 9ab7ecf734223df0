"""What all simulators promise: slots are independent, results are the caller's, limits are explained."""

from __future__ import annotations

import math

import gymnasium
import numpy as np
import pytest
from mujoco.batch import SimulationError

from lightning_pz.common.errors import UserError
from lightning_pz.envs.simulators import make_simulator
from lightning_pz.envs.simulators.classic import MountainCarSimulator, PendulumSimulator
from lightning_pz.envs.simulators.classic_choices import ChoiceSimulator
from lightning_pz.envs.simulators.gymnasium_loop import GymnasiumSimulator
from lightning_pz.envs.simulators.mujoco import MujocoSimulator
from lightning_pz.envs.simulators.mujoco_tables import MUJOCO_FORMULAS
from lightning_pz.envs.simulators.numerics import scalar_cos, scalar_square
from lightning_pz.envs.specs import EnvSpec, env_spec

KINDS = [
    "Hopper-v5", "Reacher-v5", "Ant-v5", "MountainCarContinuous-v0", "Pendulum-v1", "Humanoid-v5", "CartPole-v1", "Acrobot-v1",
    "MountainCar-v0",
]  # fmt: skip


def draw(spec: EnvSpec, *shape: int) -> np.ndarray:
    """Random actions, (*shape, A): float32, or chosen numbers."""
    generator = np.random.default_rng(0)
    if spec.choices:
        return generator.integers(0, spec.choices, (*shape, spec.action_size))
    return generator.uniform(-1, 1, (*shape, spec.action_size)).astype(np.float32)


@pytest.mark.parametrize("env_id", KINDS)
def test_a_slot_does_not_notice_which_others_are_stepped(env_id: str) -> None:
    spec = env_spec(env_id)
    alone, crowd = make_simulator(spec, 1), make_simulator(spec, 4)
    actions = draw(spec, 12, 4)
    first = alone.reset([7])
    np.testing.assert_array_equal(crowd.reset([5, 6, 7, 8])[2], first[0])
    # Slots leave and come back; slot 2 always steps.
    for step, active in enumerate([[0, 1, 2, 3], [0, 2, 3], [2, 3], [0, 1, 2], [2], [1, 2]] * 2):
        one = alone.step(actions[step, 2:3], np.array([0]))
        many = crowd.step(actions[step, active], np.array(active))
        row = active.index(2)
        for ours, theirs in zip(one[:5], many[:5], strict=True):
            np.testing.assert_array_equal(ours[0], theirs[row])
        for ours, theirs in zip(one.before + one.after, many.before + many.after, strict=True):
            np.testing.assert_array_equal(ours[0], theirs[row])
        assert many.dt == one.dt


@pytest.mark.parametrize("env_id", KINDS)
def test_a_transition_stays_as_it_was(env_id: str) -> None:
    spec = env_spec(env_id)
    simulator = make_simulator(spec, 2)
    observations = simulator.reset([0, 1])
    active, actions = np.arange(2), draw(spec, 2)
    first = simulator.step(actions, active)
    np.testing.assert_array_equal(first.observations, observations)
    copies = [np.array(part) for part in (*first[:5], *first.before, *first.after)]
    second = simulator.step(actions, active)
    for part, copy in zip((*first[:5], *first.before, *first.after), copies, strict=True):
        np.testing.assert_array_equal(part, copy)
    np.testing.assert_array_equal(second.observations, first.next_observations)
    # A caller may even write into what it got.
    second.next_observations[:] = np.nan
    second.after.positions[:] = np.nan
    assert np.isfinite(simulator.step(actions, active).next_observations).all()


@pytest.mark.parametrize("env_id", KINDS)
def test_reset_begins_anew_and_takes_fewer_seeds_than_slots(env_id: str) -> None:
    spec = env_spec(env_id)
    simulator = make_simulator(spec, 3)
    simulator.reset([1, 2, 3])
    actions = draw(spec, 3)
    once = simulator.step(actions, np.arange(3))
    simulator.step(actions, np.arange(3))
    assert simulator.reset([1, 2]).shape == (2, spec.observation_size)
    again = simulator.step(actions[:2], np.arange(2))
    np.testing.assert_array_equal(again.next_observations, once.next_observations[:2])
    np.testing.assert_array_equal(again.rewards, once.rewards[:2])


@pytest.mark.parametrize("seeds", [[], [1, 2, 3]])
@pytest.mark.parametrize("env_id", ["Hopper-v5", "Pendulum-v1", "MountainCarContinuous-v0", "Humanoid-v5"])
def test_wrong_number_of_seeds_is_refused(env_id: str, seeds: list[int]) -> None:
    with pytest.raises(ValueError, match=f"has 2 slots.*got {len(seeds)}"):
        make_simulator(env_id, 2).reset(seeds)


def test_each_environment_gets_the_fastest_simulator() -> None:
    assert len(MUJOCO_FORMULAS) == 8
    kinds = {
        "MountainCarContinuous-v0": MountainCarSimulator,
        "Pendulum-v1": PendulumSimulator,
        "Humanoid-v5": GymnasiumSimulator,
        "HalfCheetah-v5": MujocoSimulator,
        "CartPole-v1": ChoiceSimulator,
        # An older version has another reward or observation: it is left to Gymnasium.
        "Pusher-v5": GymnasiumSimulator,
    }
    for env_id, kind in kinds.items():
        assert type(make_simulator(env_id, 1)) is kind


def test_nonsense_is_refused() -> None:
    with pytest.raises(UserError, match="Did you mean 'Hopper-v"):
        make_simulator("Hoper-v5", 1)
    with pytest.raises(UserError, match="--env expects a preset or a registered Gymnasium id"):
        make_simulator("a/b/c", 1)
    with pytest.raises(ValueError, match="at least 1 slot and 1 thread, but got 0 and 1"):
        make_simulator("Pendulum-v1", 0)


def test_gymnasium_loop_equals_gymnasium_past_the_registered_limit() -> None:
    simulator = make_simulator("Pusher-v5", 1)
    env = gymnasium.make("Pusher-v5", max_episode_steps=-1)
    np.testing.assert_array_equal(simulator.reset([3])[0], env.reset(seed=3)[0])
    generator = np.random.default_rng(0)
    for _ in range(110):
        action = generator.uniform(-2, 2, 7).astype(np.float32)
        transition = simulator.step(action[None], np.array([0]))
        observation, reward, terminated, _, _ = env.step(action)
        np.testing.assert_array_equal(transition.next_observations[0], observation)
        assert transition.rewards[0] == reward
        assert transition.terminated[0] == terminated
        np.testing.assert_array_equal(transition.after.positions[0], env.unwrapped.data.qpos)
        np.testing.assert_array_equal(transition.after.velocities[0], env.unwrapped.data.qvel)
    assert transition.dt == env.unwrapped.dt
    env.close()


class _Drift(gymnasium.Env):
    """A point that drifts; truncates itself when it is out of sight. Knows no physics and no time."""

    observation_space = gymnasium.spaces.Box(-10, 10, (1,), dtype=np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), dtype=np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.uniform(size=1).astype(np.float32)
        return self.x, {}

    def step(self, action):
        self.x = self.x + action
        return self.x, 1.0, False, bool(self.x[0] > 3), {}


def test_an_environment_without_physics_has_its_observation() -> None:
    gymnasium.register("DriftForTests-v0", entry_point=_Drift)
    try:
        simulator = make_simulator("DriftForTests-v0", 2)
        simulator.reset([0, 1])
        for _ in range(4):
            transition = simulator.step(np.ones((2, 1), dtype=np.float32), np.arange(2))
        assert transition.truncated.all() and not transition.terminated.any()
        np.testing.assert_array_equal(transition.after.positions, transition.next_observations)
        np.testing.assert_array_equal(transition.before.positions, transition.observations)
        assert transition.after.velocities.shape == (2, 0)
        assert transition.dt == 1
    finally:
        del gymnasium.registry["DriftForTests-v0"]


def test_a_simulation_that_mujoco_gives_up_is_not_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    simulator = make_simulator("Hopper-v5", 4)
    simulator.reset([0, 1, 2, 3])

    def fail(ids: np.ndarray, nstep: int) -> None:
        raise SimulationError(np.array([2]), "out of memory")

    monkeypatch.setattr(simulator._batch, "step", fail)
    transition = simulator.step(np.zeros((3, 3), dtype=np.float32), np.array([0, 2, 3]))
    assert np.isnan(transition.next_observations).all(axis=1).tolist() == [False, True, False]


def test_scalar_arithmetic_is_the_c_librarys() -> None:
    x = np.random.default_rng(0).normal(size=20_000) * 3
    np.testing.assert_array_equal(scalar_square(x), [value**2 for value in x])
    np.testing.assert_array_equal(scalar_cos(x), [math.cos(value) for value in x])
    with np.errstate(all="ignore"):
        assert scalar_square(np.array([1e200, 3.0])).tolist() == [np.inf, 9.0]
        assert np.isnan(scalar_cos(np.array([np.inf, 0.0]))).tolist() == [True, False]
