"""Cart Pole, Acrobot and Mountain Car with chosen actions, vectorized and bit-equal to Gymnasium.

Gymnasium computes all three in float64 scalars and rounds observations to float32. NumPy computes a row of numbers
that lie side by side as it computes each alone, so a state is kept as one array per coordinate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lightning_pz.envs.simulators.numerics import scalar_cos, scalar_square
from lightning_pz.envs.simulators.protocol import Physics, Transition, check_seeds, draw_starts, put_rows, take_rows
from lightning_pz.envs.specs import EnvSpec

_Columns = Sequence[np.ndarray]
"""The states of n simulations, one array (n,) for each of their coordinates."""


@dataclass(frozen=True)
class ChoiceFormulas:
    """One environment, in the order and precision of Gymnasium's own code.

    `draw` maps a generator to the state of an episode's start, (coordinates,), drawing in Gymnasium's order.
    """

    draw: Callable[[np.random.Generator], np.ndarray]
    advance: Callable[[_Columns, np.ndarray], _Columns]  # from states and numbers of actions, (n,)
    outcome: Callable[[_Columns, np.ndarray], tuple[np.ndarray, np.ndarray]]  # see `ChoiceSimulator.step`
    positions: tuple[int, ...]  # which coordinates are positions
    velocities: tuple[int, ...]
    dt: float = 1.0
    observe: Callable[[_Columns], _Columns] = tuple  # to the coordinates of an observation


class ChoiceSimulator:
    """Episodes of one of `CHOICE_FORMULAS`, with actions (n, 1) int64 whose numbers are Gymnasium's."""

    def __init__(self, spec: EnvSpec, size: int) -> None:
        self.spec, self.size = spec, size
        self._formulas = formulas = CHOICE_FORMULAS[spec.id]
        self._state = [np.zeros(size) for _ in (*formulas.positions, *formulas.velocities)]
        # Kept, since an episode's first one may have another precision.
        self._observations = np.zeros((size, spec.observation_size))
        self._ended = np.zeros(size, dtype=bool)

    def reset(self, seeds: Sequence[int]) -> np.ndarray:
        """Begin an episode in each of the first slots; see `Simulator.reset`."""
        check_seeds(seeds, self.size)
        count = len(seeds)
        starts = np.ascontiguousarray(np.array(draw_starts(self._formulas.draw, seeds)).T)
        for column, start in zip(self._state, starts, strict=True):
            column[:count] = start
        self._ended[:count] = False
        self._observations[:count] = self._observe(list(starts))
        return self._observations[:count].copy()

    def step(self, actions: np.ndarray, active: np.ndarray) -> Transition:
        """Advance the active slots by one step; see `Simulator.step`.

        Formulas learn which episodes had ended before, after which Gymnasium's Cart Pole pays less.
        """
        state = [take_rows(column, active) for column in self._state]
        observations = take_rows(self._observations, active)
        after = self._formulas.advance(state, actions[:, 0])
        ended = take_rows(self._ended, active)
        rewards, terminated = self._formulas.outcome(after, ended)
        put_rows(self._ended, active, ended | terminated)
        for column, values in zip(self._state, after, strict=True):
            put_rows(column, active, values)
        seen = self._observe(after)
        put_rows(self._observations, active, seen)
        physics = self._physics(state), self._physics(after)
        return Transition(observations, actions, seen, rewards, terminated, *physics, self._formulas.dt)

    def _observe(self, state: _Columns) -> np.ndarray:
        return np.stack(self._formulas.observe(state), axis=1).astype(np.float32).astype(np.float64)

    def _physics(self, state: _Columns) -> Physics:
        chosen = self._formulas.positions, self._formulas.velocities
        return Physics(*(np.stack([state[number] for number in numbers], axis=1) for numbers in chosen))


# Cart Pole: Barto, Sutton and Anderson 1983, integrated by Euler's method. `_POLE` is half the pole's length, in m.
_GRAVITY, _POLE_MASS, _TOTAL_MASS, _POLE, _PUSH, _TAU = 9.8, 0.1, 0.1 + 1.0, 0.5, 10.0, 0.02
_TRACK, _TILT = 2.4, 12 * 2 * math.pi / 360


def _advance_cart_pole(state: _Columns, choices: np.ndarray) -> _Columns:
    x, speed, angle, rate = state
    force = np.where(choices == 1, _PUSH, -_PUSH)
    cosine, sine = np.cos(angle), np.sin(angle)
    moment = _POLE_MASS * _POLE
    push = (force + moment * np.square(rate) * sine) / _TOTAL_MASS
    turn = (_GRAVITY * sine - cosine * push) / (_POLE * (4.0 / 3.0 - _POLE_MASS * np.square(cosine) / _TOTAL_MASS))
    acceleration = push - moment * turn * cosine / _TOTAL_MASS
    return x + _TAU * speed, speed + _TAU * acceleration, angle + _TAU * rate, rate + _TAU * turn


def _cart_pole_outcome(state: _Columns, ended: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, _, angle, _ = state
    terminated = (x < -_TRACK) | (x > _TRACK) | (angle < -_TILT) | (angle > _TILT)
    return (~(terminated & ended)).astype(np.float64), terminated


# Acrobot: Sutton 1996, in the form of Sutton and Barto's book; two links of 1 m, 1 kg and 1 kg m^2.
_DT = 0.2


def _acrobot_rates(state: _Columns, torque: np.ndarray) -> _Columns:
    first, second, first_rate, second_rate = state
    cosine, sine = np.cos(second), np.sin(second)
    d1 = 0.25 + (1.25 + 1.0 * cosine) + 1.0 + 1.0
    d2 = (0.25 + 0.5 * cosine) + 1.0
    phi2 = 4.9 * np.cos(first + second - np.pi / 2.0)
    phi1 = (
        -0.5 * scalar_square(second_rate) * sine - 1.0 * second_rate * first_rate * sine
        + 1.5 * 9.8 * np.cos(first - np.pi / 2) + phi2
    )  # fmt: skip
    turn = torque + d2 / d1 * phi1 - 0.5 * scalar_square(first_rate) * sine - phi2
    second_turn = turn / (1.25 - scalar_square(d2) / d1)
    return first_rate, second_rate, -(d2 * second_turn + phi1) / d1, second_turn


def _advance_acrobot(state: _Columns, choices: np.ndarray) -> _Columns:
    """Advance by the classical Runge-Kutta method of fourth order."""
    torque = choices - 1.0

    def rates(slopes: _Columns, dt: float) -> _Columns:
        return _acrobot_rates([y + dt * slope for y, slope in zip(state, slopes, strict=True)], torque)

    k1 = _acrobot_rates(state, torque)
    k2 = rates(k1, _DT / 2.0)
    k3 = rates(k2, _DT / 2.0)
    k4 = rates(k3, _DT)
    slopes = zip(state, k1, k2, k3, k4, strict=True)
    first, second, *both = (y + _DT / 6.0 * (a + 2 * b + 2 * c + d) for y, a, b, c, d in slopes)
    limits = 4 * np.pi, 9 * np.pi
    bounded = (np.minimum(np.maximum(rate, -limit), limit) for rate, limit in zip(both, limits, strict=True))
    return _wrap(first), _wrap(second), *bounded


def _wrap(angle: np.ndarray) -> np.ndarray:
    """Bring angles to [-pi, pi] turn by turn, which rounds otherwise than a remainder does."""
    turn = 2 * np.pi
    while (over := angle > np.pi).any():
        angle = np.where(over, angle - turn, angle)
    while (under := angle < -np.pi).any():
        angle = np.where(under, angle + turn, angle)
    return angle


def _acrobot_outcome(state: _Columns, ended: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, second, _, _ = state
    terminated = -np.cos(first) - np.cos(second + first) > 1.0
    return np.where(terminated, 0.0, -1.0), terminated


def _observe_acrobot(state: _Columns) -> _Columns:
    first, second, *rates = state
    return np.cos(first), np.sin(first), np.cos(second), np.sin(second), *rates


# Mountain Car: Moore 1990.
_MIN_POSITION, _MAX_POSITION, _MAX_SPEED, _GOAL = -1.2, 0.6, 0.07, 0.5


def _advance_mountain_car(state: _Columns, choices: np.ndarray) -> _Columns:
    position, velocity = state
    velocity = velocity + ((choices - 1) * 0.001 + scalar_cos(3 * position) * (-0.0025))
    velocity = np.minimum(np.maximum(velocity, -_MAX_SPEED), _MAX_SPEED)
    position = np.minimum(np.maximum(position + velocity, _MIN_POSITION), _MAX_POSITION)
    stopped = (position == _MIN_POSITION) & (velocity < 0)
    return position, np.where(stopped, 0.0, velocity)


def _mountain_car_outcome(state: _Columns, ended: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    position, velocity = state
    return np.full(len(position), -1.0), (position >= _GOAL) & (velocity >= 0)


CHOICE_FORMULAS: dict[str, ChoiceFormulas] = {
    "CartPole-v1": ChoiceFormulas(
        lambda generator: generator.uniform(low=-0.05, high=0.05, size=(4,)),
        _advance_cart_pole, _cart_pole_outcome, (0, 2), (1, 3), _TAU,
    ),
    "Acrobot-v1": ChoiceFormulas(
        # Gymnasium's state is float32 until the first step, and so are cosines and sines of the first observation.
        lambda generator: generator.uniform(low=-0.1, high=0.1, size=(4,)).astype(np.float32),
        _advance_acrobot, _acrobot_outcome, (0, 1), (2, 3), _DT, _observe_acrobot,
    ),
    "MountainCar-v0": ChoiceFormulas(
        lambda generator: np.array([generator.uniform(low=-0.6, high=-0.4), 0]),
        _advance_mountain_car, _mountain_car_outcome, (0,), (1,),
    ),
}  # fmt: skip
"""The environments with chosen actions that are simulated here, by Gymnasium id."""
