"""Point masses whose actions are of every kind that there is."""

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from odd_environments.habits import INFINITE, PointMass


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


class DiscreteActions(PointMass):
    action_space = gymnasium.spaces.Discrete(2)

    def step(self, action):
        return super().step([1.0, -1.0] if action else [-1.0, 1.0])


class FactoredActions(PointMass):
    action_space = gymnasium.spaces.MultiDiscrete([2, 3], start=[-1, 0])

    def step(self, action):
        return super().step([2.0 * action[0] + 1, float(action[1]) - 1])


class BinaryActions(PointMass):
    action_space = gymnasium.spaces.MultiBinary(2)

    def step(self, action):
        return super().step([float(bit) for bit in action])


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
