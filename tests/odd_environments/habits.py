"""Habits that are tolerated: odd boxes, odd types, own buffers, early and late ends, numbers that are not finite."""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium.spaces import Box

INFINITE = np.inf
STEPS = 50


class PointMass(gymnasium.Env):
    """Three numbers, `s = 0.95 s + 0.1 a`, pushed by two actions; the reward is minus the squared distance from 0."""

    observation_space = Box(-INFINITE, INFINITE, (3,))
    action_space = Box(-1, 1, (2,))
    metadata = {"render_modes": []}  # noqa: RUF012

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = self.np_random.uniform(-1, 1, 3)
        self.time = 0
        return self.observe(), {}

    def step(self, action):
        force = np.asarray(action, dtype=np.float64)
        self.state = 0.95 * self.state + 0.1 * np.array([force[0], force[-1], force.sum()])
        self.time += 1
        return self.observe(), self.reward(), self.ended(), False, {}

    def observe(self):
        return self.state.astype(np.float32)

    def reward(self):
        return -float(np.square(self.state).sum())

    def ended(self):
        return False


class Faster(PointMass):
    """The same in all but what it does: it stands in for an environment that was edited under its id."""

    def step(self, action):
        return super().step(2 * np.asarray(action))


# Boxes.


class FiniteBox(PointMass):
    observation_space = Box(-5, 5, (3,))


class ConstantCoordinate(PointMass):
    """A finite box whose last coordinate is always 1, as a bias or a goal that never moves."""

    observation_space = Box(np.array([-5, -5, 1], np.float32), np.array([5, 5, 1], np.float32))

    def observe(self):
        return np.array([*self.state[:2], 1], np.float32)


class AsymmetricActions(PointMass):
    """Checks that every action lies in its box to the last bit, which no float32 has as its ends."""

    action_space = Box(np.array([-0.3, 0.1]), np.array([0.7, 0.3]), dtype=np.float64)

    def step(self, action):
        assert self.action_space.contains(action), f"{action!r} is outside"
        return super().step(action)


class HalfFloatActions(PointMass):
    action_space = Box(-1, 1, (2,), np.float16)

    def step(self, action):
        assert self.action_space.contains(action), f"{action!r} of {action.dtype} is outside"
        return super().step(action)


class HalfInfiniteObservations(PointMass):
    observation_space = Box(np.array([-5, -INFINITE, -5], np.float32), np.array([INFINITE, 5, 5], np.float32))


class IntegerObservations(PointMass):
    """Thousandths, as sensors count them."""

    observation_space = Box(-10_000, 10_000, (3,), np.int64)

    def observe(self):
        return np.round(1000 * self.state).astype(np.int64)


class ByteObservations(PointMass):
    observation_space = Box(0, 255, (3,), np.uint8)

    def observe(self):
        return np.clip(128 + 50 * self.state, 0, 255).astype(np.uint8)


class DoubleObservations(PointMass):
    observation_space = Box(-INFINITE, INFINITE, (3,), np.float64)

    def observe(self):
        return self.state.copy()


class DictObservations(PointMass):
    observation_space = gymnasium.spaces.Dict({"where": Box(-INFINITE, INFINITE, (3,))})

    def observe(self):
        return {"where": super().observe()}


# What is returned.


class OwnBuffer(PointMass):
    """Returns the same array each time and goes on writing into it."""

    observation_space = Box(-INFINITE, INFINITE, (3,), np.float64)

    def reset(self, *, seed=None, options=None):
        if not hasattr(self, "buffer"):
            self.buffer = np.empty(3)
        return super().reset(seed=seed)

    def observe(self):
        self.buffer[:] = self.state
        return self.buffer


class ListObservations(PointMass):
    def observe(self):
        return [float(x) for x in self.state]


class WritesIntoActions(PointMass):
    """Clips and scales the very array that it was given."""

    def step(self, action):
        np.clip(action, -0.5, 0.5, out=action)
        action *= 2
        return super().step(action)


class SingleRewards(PointMass):
    def reward(self):
        return np.float32(super().reward())


class IntegerRewards(PointMass):
    def reward(self):
        return int(self.state[0] > 0)


class ZeroDimensionalRewards(PointMass):
    def reward(self):
        return np.array(super().reward())


class OneElementRewards(PointMass):
    def reward(self):
        return np.array([super().reward()])


class NumpyBools(PointMass):
    def ended(self):
        return np.bool_(self.time >= 30)


class OneElementEnds(PointMass):
    def ended(self):
        return np.array([self.time >= 30])


# When it ends.


class OwnTruncation(PointMass):
    """Truncates an episode itself after 20 steps."""

    def step(self, action):
        observation, reward, ended, _, info = super().step(action)
        return observation, reward, ended, self.time >= 20, info


class EndsAtOnce(PointMass):
    def ended(self):
        return True


class EndsByState(PointMass):
    """Lasts differently long from policy to policy and seed to seed."""

    def ended(self):
        return bool(np.abs(self.state).max() > 0.8 and self.time > 2)


# What is no number.


class NanAtReset(PointMass):
    def observe(self):
        return np.full(3, np.nan, np.float32)


class NanEarly(PointMass):
    """From the third step on, always."""

    def observe(self):
        return super().observe() * (np.nan if self.time > 2 else 1)


class NanLate(PointMass):
    """After 40 steps, in an episode that goes far to the right: some policies, some seeds."""

    def observe(self):
        return super().observe() * (np.nan if self.time > 40 and self.state[0] > 0.9 else 1)


class NanReward(PointMass):
    def reward(self):
        return float("nan")


class NanRewardSometimes(PointMass):
    def reward(self):
        return float("nan") if self.time > 40 and self.state[0] > 0.9 else super().reward()


class Enormous(PointMass):
    """Observations of 1e39, which a float32 cannot hold."""

    observation_space = Box(-INFINITE, INFINITE, (3,), np.float64)

    def observe(self):
        return 1e39 * self.state


class Large(PointMass):
    """Observations of 1e12, which it can."""

    def observe(self):
        return (1e12 * self.state).astype(np.float32)
