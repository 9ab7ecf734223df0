"""The protocol of batch simulators, and the transition that a step returns. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from lightning_pz.envs.specs import EnvSpec


class Physics(NamedTuple):
    """Generalized positions and velocities of n simulations, in the environment's units.

    Attributes:
        positions: (n, Q) float64. MuJoCo: `qpos` (m and rad); Mountain Car: position (m); Pendulum: angle
            (rad, 0 is upright, not wrapped); anything else: the observation.
        velocities: (n, V) float64. MuJoCo: `qvel` (m/s and rad/s); Mountain Car: position per step; Pendulum:
            rad/s; anything else: empty, (n, 0).
    """

    positions: np.ndarray
    velocities: np.ndarray


class Transition(NamedTuple):
    """One control step of n simulations; row i of every array belongs to the i-th active slot.

    The arrays are the caller's own: no later step changes them.

    Attributes:
        observations: Before the step, (n, O) float64.
        actions: As they were given, (n, A).
        next_observations: After the step, (n, O) float64.
        rewards: Gymnasium's own reward, (n,) float64.
        terminated: Whether the environment ended the episode, (n,) bool. Running into the horizon is not
            seen here: the rollout counts steps.
        before: Physics before the step.
        after: Physics after the step.
        dt: Seconds of one control step; 1 where the environment has no unit of time.
    """

    observations: np.ndarray
    actions: np.ndarray
    next_observations: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    before: Physics
    after: Physics
    dt: float


@runtime_checkable
class Simulator(Protocol):
    """Many independent episodes of one environment, each in a slot.

    Attributes:
        spec: The environment.
        size: Number of slots.
    """

    spec: EnvSpec
    size: int

    def reset(self, seeds: Sequence[int]) -> np.ndarray:
        """Begin an episode in each of the first `len(seeds)` slots.

        Args:
            seeds: What `gymnasium.Env.reset(seed=...)` would be given, one per slot; at most `size`.

        Returns:
            The first observations, (len(seeds), O) float64.
        """
        ...

    def step(self, actions: np.ndarray, active: np.ndarray) -> Transition:
        """Advance some slots by one control step and leave the others alone.

        Args:
            actions: (n, A) float32, as Gymnasium's action box has it: rewards and some physics depend on it
                in the last digits.
            active: Slot of each row, (n,) integers, increasing and without repetition.
        """
        ...


def check_seeds(seeds: Sequence[int], size: int) -> None:
    """Refuse more seeds than slots.

    Raises:
        ValueError: None or too many.
    """
    if not 0 < len(seeds) <= size:
        raise ValueError(f"this simulator has {size} slots and takes one seed for each, but got {len(seeds)}")


def take_rows(array: np.ndarray, active: np.ndarray) -> np.ndarray:
    """Copy the active rows; a plain copy where all are active, which is several times faster."""
    return array.copy() if len(active) == len(array) else array[active]


def put_rows(array: np.ndarray, active: np.ndarray, values: np.ndarray) -> None:
    """Write the active rows; the counterpart of `take_rows`."""
    array[slice(None) if len(active) == len(array) else active] = values
