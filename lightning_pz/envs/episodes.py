"""The one loop that plays episodes: a way of acting, a simulator, and observers that see every step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import DTypeLike

from lightning_pz.envs.forward import Act, one_blas_thread
from lightning_pz.envs.own_tasks import TaskFunction, earn
from lightning_pz.envs.simulators.protocol import Simulator, Transition


class Step(NamedTuple):
    """One step of n episodes; row i of every array belongs to the i-th active slot."""

    number: int  # steps played before this one
    seeds: Sequence[int]  # of the episodes in all slots
    active: np.ndarray  # slots that play, (n,) increasing
    wanted: np.ndarray  # actions before they were clipped to the action box, (n, A)
    transition: Transition  # what the simulator returned; its actions are the clipped ones


@runtime_checkable
class Observer(Protocol):
    """Sees every step of all episodes."""

    def see(self, step: Step) -> np.ndarray | None:
        """Take one step in; return which of its n episodes stay valid, (n,) bool, or None if all do."""
        ...


@dataclass(frozen=True)
class Ends:
    """How episodes ended."""

    lengths: np.ndarray  # steps of each, int64; of an invalid one, the steps before it turned invalid
    valid: np.ndarray  # False where an observation or an action turned non-finite (no choice), or an observer objected

    @property
    def steps(self) -> int:
        """Environment steps taken in all, those of invalid episodes included.

        An episode costs at least one, even if it is invalid before its first: no search can go on for nothing.
        """
        return int(np.maximum(self.lengths, 1).sum())


# What turns non-finite is found and marked below; NumPy need not say so as well.
@np.errstate(all="ignore")
def play_episodes(
    act: Act,
    simulator: Simulator,
    seeds: Sequence[int],
    horizon: int,
    observers: Sequence[Observer] = (),
    on_ended: Callable[[int], object] = lambda count: None,
) -> Ends:
    """Play one episode in each of the first `len(seeds)` slots; actions are clipped to the action box, or are choices.

    An episode ends when the environment ends or truncates it, at the horizon, or when it turns invalid; `on_ended` is
    called with the number of episodes that have just ended.
    """
    spec, slots, number = simulator.spec, len(seeds), 0
    low, high = np.array([spec.action_low, spec.action_high], dtype=np.int64 if spec.choices else np.float32)
    # Rows of finished episodes stay as they were.
    observations = simulator.reset(seeds)
    lengths = np.zeros(slots, dtype=np.int64)
    valid = np.isfinite(observations).reshape(slots, -1).all(axis=1)
    active, playing = np.flatnonzero(valid), slots
    with one_blas_thread():
        while number < horizon and len(active):
            wanted = act(observations, active)
            finite = _known_choices(wanted, low, high) if spec.choices else finite_rows(wanted)
            if finite is not None:
                valid[active[~finite]] = False
                active, wanted = active[finite], wanted[finite]
                if not len(active):
                    break
            transition = simulator.step(np.minimum(np.maximum(wanted, low), high), active)
            # A slice where all play is several times faster.
            rows = slice(None) if len(active) == slots else active
            observations[rows] = transition.next_observations
            lengths[rows] += 1
            step = Step(number, seeds, active, wanted, transition)
            going = ~transition.terminated
            if transition.truncated is not None:
                going &= ~transition.truncated
            for good in (finite_rows(transition.next_observations), *[observer.see(step) for observer in observers]):
                if good is not None:
                    valid[active[~good]] = False
                    going &= good
            number += 1
            if not going.all():
                active = active[going]
                on_ended(playing - len(active))
                playing = len(active)
    on_ended(playing)
    return Ends(lengths, valid)


def finite_rows(*arrays: np.ndarray) -> np.ndarray | None:
    """Return which rows of all arrays are finite, (n,) bool, or None where every number is.

    A dot product is several times faster than a look at each number, which decides only where it overflows.
    """
    if all(array.dtype.kind != "f" or math.isfinite(np.vdot(array, array)) for array in arrays):
        return None
    return np.logical_and.reduce([np.isfinite(array).reshape(len(array), -1).all(axis=1) for array in arrays])


def _known_choices(actions: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray | None:
    """Return which rows of chosen actions, (n, A), are choices that there are, (n,) bool, or None where all are."""
    known: np.ndarray = np.all((actions >= low) & (actions <= high), axis=1)
    return None if known.all() else known


class TaskReturns:
    """Adds up the rewards of T tasks in S slots: `totals` are undiscounted returns, (T, S) float64.

    `decisive` says whether a reward that is not finite, Gymnasium's own included, makes its episode invalid. A growth says
    no: what no reward may steer must not end by one either.
    """

    def __init__(self, tasks: Mapping[str, TaskFunction], slots: int, decisive: bool = True) -> None:
        self._tasks, self._decisive = tuple(tasks.values()), decisive
        self.totals = np.zeros((len(tasks), slots))

    def see(self, step: Step) -> np.ndarray | None:
        """Add the rewards of one step; see `Observer.see`."""
        rewards = [earn(task, step.transition, step.number, step.seeds, step.active) for task in self._tasks]
        rows = slice(None) if len(step.active) == self.totals.shape[1] else step.active
        for total, reward in zip(self.totals, rewards, strict=True):
            total[rows] += reward
        return finite_rows(step.transition.rewards, *rewards) if self._decisive else None


class VisitedStates:
    """Keeps every observation, of some shape, that was acted on."""

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> None:
        self._slots = [np.empty(0, dtype=np.int64)]
        self._observations = [np.empty((0, *shape), dtype=dtype)]

    def see(self, step: Step) -> None:
        """Take one step in; see `Observer.see`."""
        self._slots.append(step.active)
        self._observations.append(step.transition.observations.astype(self._observations[0].dtype, copy=False))

    def by_step(self) -> np.ndarray:
        """Return all observations, (V, ...), step after step, slot after slot."""
        return np.concatenate(self._observations)

    def by_episode(self) -> np.ndarray:
        """Return all observations, (V, ...), episode after episode, step after step."""
        return self.by_step()[np.argsort(np.concatenate(self._slots), kind="stable")]


@dataclass(frozen=True)
class Episodes(Ends):
    """S episodes of at most T steps, padded with zeros after their end."""

    observations: np.ndarray  # what was acted on, (S, T, O) float32, raw
    actions: np.ndarray  # what was wanted, (S, T, A) float32, before it was clipped to the action box
    rewards: np.ndarray  # the task's, (S, T) float64

    def returns(self) -> np.ndarray:
        """Return the undiscounted return of each episode, (S,) float64; NaN where invalid."""
        return np.where(self.valid, self.rewards.sum(1), np.nan)

    def mask(self) -> np.ndarray:
        """Return which steps were played in valid episodes, (S, T) bool."""
        return (np.arange(self.rewards.shape[1]) < self.lengths[:, None]) & self.valid[:, None]


class _Trajectories:
    def __init__(self, task: TaskFunction) -> None:
        self.task, self.kept = task, list[tuple[np.ndarray, ...]]()

    def see(self, step: Step) -> np.ndarray | None:
        rewards = earn(self.task, step.transition, step.number, step.seeds, step.active)
        self.kept.append((step.active, step.transition.observations, step.wanted, rewards))
        return finite_rows(step.transition.rewards, rewards)


def record_episodes(act: Act, simulator: Simulator, seeds: Sequence[int], task: TaskFunction, horizon: int) -> Episodes:
    """Play one episode per seed and keep all that happened; see `play_episodes`."""
    seen = _Trajectories(task)
    ends = play_episodes(act, simulator, seeds, horizon, [seen])
    shape, spec = (len(seeds), len(seen.kept)), simulator.spec
    observations = np.zeros((*shape, spec.observation_size), dtype=np.float32)
    actions, rewards = np.zeros((*shape, spec.action_size), dtype=np.float32), np.zeros(shape)
    for step, (active, *happened) in enumerate(seen.kept):
        observations[active, step], actions[active, step], rewards[active, step] = happened
    return Episodes(ends.lengths, ends.valid, observations, actions, rewards)
