"""Mountain Car and Pendulum, vectorized and bit-equal to Gymnasium.

Gymnasium computes these in Python and NumPy scalars, so the precision of each line depends on which operand
is a float32 scalar and which a Python float. What looks odd below repeats that, for float32 actions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lightning_pz.envs.simulators.numerics import scalar_cos, scalar_square
from lightning_pz.envs.simulators.protocol import Physics, Transition, check_seeds, draw_starts, put_rows, take_rows
from lightning_pz.envs.specs import EnvSpec

_MAX_SPEED = np.float32(0.07)
_MIN_POSITION, _MAX_POSITION, _GOAL = np.float32(-1.2), np.float32(0.6), np.float32(0.45)


class MountainCarSimulator:
    """Episodes of MountainCarContinuous-v0. One step is the unit of time, so velocity is position per step."""

    def __init__(self, spec: EnvSpec, size: int) -> None:
        self.spec, self.size = spec, size
        # Position and velocity. Gymnasium's are float64 until the first step and float32 from then on; these
        # are float64 throughout, and from the first step on hold numbers that are float32.
        self._state = np.zeros((size, 2))
        self._fresh = np.zeros(size, dtype=bool)
        self._any_fresh = False

    def reset(self, seeds: Sequence[int]) -> np.ndarray:
        """Begin an episode in each of the first slots; see `Simulator.reset`."""
        check_seeds(seeds, self.size)
        count = len(seeds)
        self._state[:count, 0] = draw_starts(lambda generator: generator.uniform(low=-0.6, high=-0.4), seeds)
        self._state[:count, 1] = 0
        self._fresh[:] = False
        self._fresh[:count] = self._any_fresh = True
        return self._state[:count].astype(np.float32).astype(np.float64)

    def step(self, actions: np.ndarray, active: np.ndarray) -> Transition:
        """Advance the active slots by one step; see `Simulator.step`."""
        state = take_rows(self._state, active)
        single = state.astype(np.float32)
        force = actions[:, 0]
        position, velocity = _move(single[:, 0], single[:, 1], force)
        if self._any_fresh:
            fresh = take_rows(self._fresh, active)
            first_position, first_velocity = _move_fresh(state[:, 0], state[:, 1], force)
            position = np.where(fresh, first_position, position)
            velocity = np.where(fresh, first_velocity, velocity)
            put_rows(self._fresh, active, np.zeros(len(active), dtype=bool))
            self._any_fresh = bool(self._fresh.any())
        terminated = (position >= _GOAL) & (velocity >= 0)
        rewards = terminated * 100.0 - _action_square(force) * 0.1
        after = np.empty((len(active), 2), dtype=np.float32)
        after[:, 0], after[:, 1] = position, velocity
        after = after.astype(np.float64)
        put_rows(self._state, active, after)
        before, later = (Physics(both[:, :1], both[:, 1:]) for both in (state, after))
        return Transition(single.astype(np.float64), actions, after, rewards, terminated, before, later, 1.0)


class PendulumSimulator:
    """Episodes of Pendulum-v1."""

    def __init__(self, spec: EnvSpec, size: int) -> None:
        self.spec, self.size = spec, size
        self._angle, self._velocity = np.zeros(size), np.zeros(size)

    def reset(self, seeds: Sequence[int]) -> np.ndarray:
        """Begin an episode in each of the first slots; see `Simulator.reset`."""
        check_seeds(seeds, self.size)
        count, high = len(seeds), np.array([np.pi, 1.0])
        starts = draw_starts(lambda generator: generator.uniform(low=-high, high=high), seeds)
        self._angle[:count], self._velocity[:count] = np.array(starts).T
        return self._observe(self._angle[:count], self._velocity[:count])

    def step(self, actions: np.ndarray, active: np.ndarray) -> Transition:
        """Advance the active slots by 0.05 s; see `Simulator.step`."""
        dt = 0.05
        angle, velocity = take_rows(self._angle, active), take_rows(self._velocity, active)
        torque = np.clip(actions[:, 0], -2.0, 2.0)
        wrapped = (angle + np.pi) % (2 * np.pi) - np.pi
        squared = torque**2 if torque.dtype == np.float32 else scalar_square(torque)
        costs = scalar_square(wrapped) + 0.1 * scalar_square(velocity) + 0.001 * squared
        new_velocity = np.clip(velocity + (15.0 * np.sin(angle) + 3.0 * torque) * dt, -8, 8)
        new_angle = angle + new_velocity * dt
        put_rows(self._angle, active, new_angle)
        put_rows(self._velocity, active, new_velocity)
        seen, next_seen = self._observe(angle, velocity), self._observe(new_angle, new_velocity)
        before = Physics(angle[:, None], velocity[:, None])
        after = Physics(new_angle[:, None], new_velocity[:, None])
        return Transition(seen, actions, next_seen, -costs, np.zeros(len(active), dtype=bool), before, after, dt)

    @staticmethod
    def _observe(angle: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        return np.stack([np.cos(angle), np.sin(angle), velocity], axis=1).astype(np.float32).astype(np.float64)


def _action_square(force: np.ndarray) -> np.ndarray:
    """`math.pow(action, 2)`: exact for a float32 action, the C library's for a float64 one."""
    return np.square(force, dtype=np.float64) if force.dtype == np.float32 else scalar_square(force)


def _move(position: np.ndarray, velocity: np.ndarray, force: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Advance a float32 state, in Gymnasium's mixture of precisions."""
    slope = 0.0025 * scalar_cos(3 * position)
    clipped = np.abs(force) > 1
    # A float32 action stays float32 in the sum; a clipped one has become a Python float.
    change = force * 0.0015 - slope.astype(force.dtype)
    if clipped.any():
        push = np.sign(force).astype(np.float64) * 0.0015
        change = np.where(clipped, (push - slope).astype(force.dtype), change)
    # Minimum and maximum rather than clip, which spends more on its checks than on its work.
    velocity = np.minimum(np.maximum(velocity + change, -_MAX_SPEED), _MAX_SPEED)
    position = np.minimum(np.maximum(position + velocity, _MIN_POSITION), _MAX_POSITION)
    stopped = (position == _MIN_POSITION) & (velocity < 0)
    return position, np.where(stopped, np.float32(0), velocity)


def _move_fresh(position: np.ndarray, velocity: np.ndarray, force: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Advance the float64 state that a reset leaves: far from every wall and speed limit, by its range."""
    slope = 0.0025 * scalar_cos(3 * position)
    clipped = np.abs(force) > 1
    change = (force * 0.0015 - slope.astype(force.dtype)).astype(np.float64)
    if clipped.any():
        change = np.where(clipped, np.sign(force).astype(np.float64) * 0.0015 - slope, change)
    velocity = velocity + change
    return position + velocity, velocity
