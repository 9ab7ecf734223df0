"""The protocol of batch simulators, and the transition that a step returns. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
from gymnasium.utils import seeding

from lightning_pz.envs.specs import EnvSpec

_Start = TypeVar("_Start")


class Physics(NamedTuple):
    """Generalized positions, (n, Q) float64, and velocities, (n, V) float64, of n simulations, in the environment's units.

    MuJoCo: `qpos` (m and rad) and `qvel` (m/s and rad/s); Mountain Car: position (m) and position per step; Pendulum:
    angle (rad, 0 is upright, not wrapped) and rad/s; CartPole: of the cart (m, m/s) and the pole (rad, 0 is upright, and
    rad/s); Acrobot: of the first link (rad, 0 hangs down, wrapped, and rad/s) and of the second relative to the first;
    anything else: the observation and an empty array, (n, 0).
    """

    positions: np.ndarray
    velocities: np.ndarray


class Transition(NamedTuple):
    """One control step of n simulations; row i of every array belongs to the i-th active slot.

    The arrays are the caller's own: no later step changes them.
    """

    observations: np.ndarray  # before the step, (n, O) float64
    actions: np.ndarray  # as they were given, (n, A)
    next_observations: np.ndarray  # after the step, (n, O) float64
    rewards: np.ndarray  # Gymnasium's own, (n,) float64
    terminated: (
        np.ndarray
    )  # whether the environment ended the episode, (n,) bool; the rollout counts steps to the horizon
    before: Physics
    after: Physics
    dt: float  # seconds of one control step; 1 where the environment has no unit of time
    truncated: np.ndarray | None = None  # whether the environment cut the episode off by itself, (n,) bool; None: none


@runtime_checkable
class Simulator(Protocol):
    """Many independent episodes of one environment, each in one of `size` slots."""

    spec: EnvSpec
    size: int

    def reset(self, seeds: Sequence[int]) -> np.ndarray:
        """Begin an episode in each of the first slots, seeded as by Gymnasium; return observations, (seeds, O) float64."""
        ...

    def step(self, actions: np.ndarray, active: np.ndarray) -> Transition:
        """Advance the active slots, (n,) increasing, by one control step and leave the others alone.

        Actions are (n, A) float32, as Gymnasium's box has them: rewards and some physics depend on it in the last digits.
        Chosen ones are int64.
        """
        ...


def draw_starts(draw: Callable[[np.random.Generator], _Start], seeds: Sequence[int]) -> list[_Start]:
    """Return what each seed's generator draws for the start of an episode, as Gymnasium seeds it."""
    drawn = {seed: draw(seeding.np_random(int(seed))[0]) for seed in dict.fromkeys(seeds)}
    return [drawn[seed] for seed in seeds]


def check_seeds(seeds: Sequence[int], size: int) -> None:
    """Raise `ValueError` for no seeds, or more than slots."""
    if not 0 < len(seeds) <= size:
        raise ValueError(f"this simulator has {size} slots and takes one seed for each, but got {len(seeds)}")


def take_rows(array: np.ndarray, active: np.ndarray) -> np.ndarray:
    """Copy the active rows; a plain copy where all are active, which is several times faster."""
    return array.copy() if len(active) == len(array) else array[active]


def put_rows(array: np.ndarray, active: np.ndarray, values: np.ndarray) -> None:
    """Write the active rows; the counterpart of `take_rows`."""
    array[slice(None) if len(active) == len(array) else active] = values
