"""Tasks of the environments with chosen actions, beside Gymnasium's own. Imports no torch; see `envs.tasks`.

Gymnasium charges for control on Lunar Lander alone, 0.3 for a step of the main engine and 0.03 for one of a side
engine, and every task there charges the same or a multiple.
"""

from __future__ import annotations

import numpy as np

from lightning_pz.envs.own_tasks import TaskFunction
from lightning_pz.envs.simulators.protocol import Transition

_HALF_VIEW = np.array([10.0, 20 / 3])
"""Lunar Lander: half the width and half the height of the view in m, the units of its first two observations."""
_HOVER = np.array([0.0, 5.0])
"""Lunar Lander: the place to hover at, in m from the landing pad to the right and up."""
_MAIN, _SIDES = 2, (1, 3)
"""Lunar Lander: the numbers of its engines."""


def _place(coordinate: int, sign: int, scale: float = 1.0, center: float = 0.0) -> TaskFunction:
    """Be on one side of a center: `sign (q' - center) / scale`, for one generalized position q."""
    return lambda transition: sign * (transition.after.positions[:, coordinate] - center) / scale


def _speed(scale: float = 1.0) -> TaskFunction:
    """Be fast in either direction: `|v'| / scale`, for the first generalized velocity v."""
    return lambda transition: np.abs(transition.after.velocities[:, 0]) / scale


def _spin(sign: int) -> TaskFunction:
    """Spin the second link one way: `sign (w1' + w2')`, its turn as seen from outside, rad/s; within +-41.

    Of all links of an Acrobot it alone turns over at will: the best policies at turning the first one, of thousands, turn it
    on the episodes that they were chosen by and on no others.
    """
    return lambda transition: sign * transition.after.velocities.sum(axis=1)


def _tip(transition: Transition) -> np.ndarray:
    """Hold the tip high: `2 - cos q1' - cos(q1' + q2')`, its height above hanging in m; 0 to 4.

    Above 3 m the episode ends and with it this reward, so the best policies swing below.
    """
    first, second = transition.after.positions.T
    return 2 - np.cos(first) - np.cos(first + second)


def _hillside(transition: Transition) -> np.ndarray:
    """Be high up: `0.45 sin(3 x') + 0.55`, height of the track in m as Gymnasium draws it; 0 to 1.

    Reaching the goal ends the episode and with it this reward, so the best policies stay on a hillside.
    """
    return np.sin(3 * transition.after.positions[:, 0]) * 0.45 + 0.55


def _fuel(transition: Transition) -> np.ndarray:
    """Return what Gymnasium charges for the engines in a step."""
    engine = transition.actions[:, 0]
    return 0.3 * (engine == _MAIN) + 0.03 * np.isin(engine, _SIDES)


def _hover(transition: Transition) -> np.ndarray:
    """Stay near a place 5 m above the pad: `max(0, 1 - distance / 5 m) - fuel`; -0.3 to 1. It earns nothing on the ground."""
    away = transition.next_observations[:, :2] * _HALF_VIEW - _HOVER
    return np.maximum(0, 1 - np.sqrt(np.square(away).sum(axis=1)) / _HOVER[1]) - _fuel(transition)


def _fly_left(transition: Transition) -> np.ndarray:
    """Be left of the pad in the air or on the ground: `-x' - fuel`, x' in half widths of the view; -1.3 to 1.

    Leaving the view ends the episode, as does coming to rest.
    """
    return -transition.next_observations[:, 0] - _fuel(transition)


def _thrifty(transition: Transition) -> np.ndarray:
    """Land with little fuel: Gymnasium's reward with fuel at four times its price."""
    return transition.rewards - 3 * _fuel(transition)


CHOICE_TASKS: dict[str, dict[str, TaskFunction]] = {
    "CartPole": {
        "left": _place(0, -1, 2.4),  # as a share of half the track; -1 to 1
        "right": _place(0, 1, 2.4),
        "swing": _speed(),  # of the cart, m/s; it has to turn before the track ends
    },
    "Acrobot": {
        "height": _tip,
        "clockwise": _spin(-1),
        "counterclockwise": _spin(1),
    },
    "MountainCar": {
        "left": _place(0, -1, center=-np.pi / 6),  # left of the valley's floor, m; -1.02 to 0.68
        "speed": _speed(0.07),  # as a share of the speed limit; 0 to 1
        "height": _hillside,
    },
    "LunarLander": {"hover": _hover, "left": _fly_left, "thrifty": _thrifty},
}
"""Named tasks by Gymnasium id without its version, but for `standard`."""
