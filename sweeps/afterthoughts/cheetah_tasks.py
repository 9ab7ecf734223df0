"""Ten rewards for HalfCheetah that are not among its tasks. Imports no torch.

Positions are x, z (m, 0 where it starts), pitch (rad, 0 upright, positive with the nose down), then thigh, shin and foot of
the back leg and of the front leg (rad).
"""

from __future__ import annotations

import numpy as np

from lightning_pz.envs.simulators.protocol import Transition

_Z, _PITCH, _BACK_THIGH, _FRONT_THIGH, _FRONT_FOOT = 1, 2, 3, 6, 8


def crouch(transition: Transition) -> np.ndarray:
    """Keep the torso low: minus its height above the start, m."""
    return -transition.after.positions[:, _Z]


def stand_tall(transition: Transition) -> np.ndarray:
    """Keep the torso high: its height above the start, m."""
    return transition.after.positions[:, _Z]


def jog(transition: Transition) -> np.ndarray:
    """Run forward at 2 m/s, neither slower nor faster: `exp(-(v - 2)^2)`, 0 to 1."""
    return np.exp(-np.square(_speed(transition) - 2))


def hop(transition: Transition) -> np.ndarray:
    """Rise: the upward speed of the torso where it is positive, m/s."""
    return np.maximum(transition.after.positions[:, _Z] - transition.before.positions[:, _Z], 0) / transition.dt


def lie_on_back(transition: Transition) -> np.ndarray:
    """Be upside down: `max(0, -cos pitch)`, 0 to 1."""
    return np.maximum(-np.cos(transition.after.positions[:, _PITCH]), 0)


def headstand(transition: Transition) -> np.ndarray:
    """Stand on the nose: `max(0, sin pitch)`, 0 to 1."""
    return np.maximum(np.sin(transition.after.positions[:, _PITCH]), 0)


def rear_up(transition: Transition) -> np.ndarray:
    """Point the nose up: `max(0, -sin pitch)`, 0 to 1."""
    return np.maximum(-np.sin(transition.after.positions[:, _PITCH]), 0)


def shake_foot(transition: Transition) -> np.ndarray:
    """Turn the joint of the front foot fast, to and fro: its speed, rad/s."""
    return np.abs(transition.after.velocities[:, _FRONT_FOOT])


def bound(transition: Transition) -> np.ndarray:
    """Run forward with both thighs in step: `v exp(-4 (back thigh - front thigh)^2)`, m/s."""
    apart = transition.after.positions[:, _BACK_THIGH] - transition.after.positions[:, _FRONT_THIGH]
    return _speed(transition) * np.exp(-4 * np.square(apart))


def run_thriftily(transition: Transition) -> np.ndarray:
    """Run forward at ten times the usual price of control: `v - sum a^2`, m/s."""
    return _speed(transition) - np.square(transition.actions).sum(axis=1)


def _speed(transition: Transition) -> np.ndarray:
    return (transition.after.positions[:, 0] - transition.before.positions[:, 0]) / transition.dt


AFTERTHOUGHTS = (crouch, stand_tall, jog, hop, lie_on_back, headstand, rear_up, shake_foot, bound, run_thriftily)
