"""Environments that break a rule, need something, or raise."""

from __future__ import annotations

import warnings

import numpy as np

from odd_environments.habits import PointMass


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
