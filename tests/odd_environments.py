"""Environments with every habit that Gymnasium tolerates and people have; importing this registers them.

In a test or a subprocess with `tests/` on its path they are `odd_environments:PointMass-v0` and so on. All are a point
mass in a few lines, so that a plain Gymnasium loop tells what is right.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

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


class IntegerActions(PointMass):
    action_space = Box(-3, 3, (2,), np.int64)


class PinnedAction(PointMass):
    action_space = Box(np.array([-1, 0.5], np.float32), np.array([1, 0.5], np.float32))


class HugeActions(PointMass):
    """A finite box that is wider than any float32."""

    action_space = Box(np.array([-3e38] * 2, np.float32), np.array([3e38] * 2, np.float32))


class UnboundedActions(PointMass):
    action_space = Box(-INFINITE, INFINITE, (2,))


class MatrixActions(PointMass):
    action_space = Box(-1, 1, (1, 2))


class DictObservations(PointMass):
    observation_space = gymnasium.spaces.Dict({"where": Box(-INFINITE, INFINITE, (3,))})

    def observe(self):
        return {"where": super().observe()}


class DiscreteActions(PointMass):
    action_space = gymnasium.spaces.Discrete(2)

    def step(self, action):
        return super().step([1.0, -1.0] if action else [-1.0, 1.0])


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


# What breaks.


class WrongShape(PointMass):
    def observe(self):
        return np.zeros(4, np.float32)


class Broadcast(PointMass):
    """One number where three are due, which NumPy would spread over all of them."""

    def observe(self):
        return np.float32(self.state[0])


class WordObservations(PointMass):
    def observe(self):
        return ["left", "right", "up"]


class NoReward(PointMass):
    def reward(self):
        return None


class TwoRewards(PointMass):
    def reward(self):
        return np.zeros(2)


class OldStep(PointMass):
    """Four values, as Gym had them before version 0.26."""

    def step(self, action):
        observation, reward, ended, _, info = super().step(action)
        return observation, reward, ended, info


class OldReset(PointMass):
    """An observation alone, as Gym had it before version 0.26."""

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0]


class Seedless(PointMass):
    def reset(self):
        return super().reset()


class RaisesInStep(PointMass):
    def step(self, action):
        if self.time == 7:
            raise ZeroDivisionError("the motor is gone")
        return super().step(action)


class RaisesInReset(PointMass):
    def reset(self, *, seed=None, options=None):
        raise FileNotFoundError("track.csv is not there")


class RaisesInConstructor(PointMass):
    def __init__(self):
        raise FileNotFoundError("model.xml is not there")


class NeedsArguments(PointMass):
    def __init__(self, stiffness):
        self.stiffness = stiffness


class NeedsRenderMode(PointMass):
    def __init__(self, render_mode):
        self.render_mode = render_mode


class TakesArguments(PointMass):
    """Registered with `kwargs`."""

    def __init__(self, push=1.0):
        self.push = push

    def step(self, action):
        return super().step(self.push * np.asarray(action))


# What it does beside.


class Prints(PointMass):
    def step(self, action):
        print("step", self.time)
        return super().step(action)


class Warns(PointMass):
    def step(self, action):
        warnings.warn("odd: the actuator is warm", UserWarning, stacklevel=2)
        return super().step(action)


class OddTime(PointMass):
    """Has a `dt` and a `data` that are not what MuJoCo's are."""

    dt = None
    data = "where the log goes"


class BoundedByHand(gymnasium.ActionWrapper):
    """What `lightning_pz` advises for an unbounded action box: a finite box, declared."""

    def __init__(self, env):
        super().__init__(env)
        self.action_space = Box(-1, 1, env.action_space.shape, np.float32)

    def action(self, action):
        return action


def bounded():
    """Make the environment that stands behind `Bounded-v0`."""
    return BoundedByHand(UnboundedActions())


def _register() -> None:
    kinds: list[type] = [
        kind for kind in list(globals().values())
        if isinstance(kind, type) and issubclass(kind, PointMass)
    ]  # fmt: skip
    for kind in kinds:
        _once(f"{kind.__name__}-v0", kind)
    _once("Endless-v0", PointMass, max_episode_steps=None)
    _once("Pushed-v0", TakesArguments, kwargs={"push": 0.5})
    _once("Bounded-v0", bounded)
    # Ids that a careless slug gives one name, and one that looks like a shipped environment's.
    _once("odd/PointMass-v0", PointMass)
    _once("odd/Point-Mass-v0", Faster)
    _once("pointmass-v0", Faster)
    _once("Hopper-variant-v0", PointMass)


def _once(env_id: str, entry: Callable[..., gymnasium.Env], **more: Any) -> None:
    # Under pytest this file may be imported under two names.
    if env_id not in gymnasium.registry:
        gymnasium.register(env_id, entry, **{"max_episode_steps": STEPS, **more})


_register()
