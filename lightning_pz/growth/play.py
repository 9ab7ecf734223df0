"""Episodes without rewards: policies act, observers look on.

`lightning_pz.envs.rollout` adds up rewards; here nothing does, so that no task can reach what grows from these
episodes. The one thing that sees rewards is a `Ledger`, whose sums go to the report and to disk and which has no
way back: it may neither end an episode nor make one invalid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from torch import Tensor

from lightning_pz.envs.forward import BatchForward, one_blas_thread
from lightning_pz.envs.own_tasks import TaskFunction, earn
from lightning_pz.envs.simulators import Simulator, Transition
from lightning_pz.policy import PolicyNetwork


@runtime_checkable
class Observer(Protocol):
    """Looks at what is observed and done, step by step."""

    def see(self, step: int, active: np.ndarray, observations: np.ndarray, actions: np.ndarray) -> None:
        """Take one step in.

        Args:
            step: Steps played before this one.
            active: Slots that play, (n,) increasing.
            observations: What they act on, raw, (n, O) float64.
            actions: What they do, inside the action box, (n, A) float32.
        """
        ...


class Ledger:
    """Undiscounted returns of all tasks, for the report alone.

    Args:
        tasks: Reward functions by name.
        slots: Number of episodes, S.
    """

    def __init__(self, tasks: Mapping[str, TaskFunction], slots: int) -> None:
        self._tasks = dict(tasks)
        self._totals = np.zeros((slots, len(self._tasks)))

    def enter(self, step: int, seeds: Sequence[int], active: np.ndarray, transition: Transition) -> None:
        """Add the rewards of one step; `step` have been played before it, and slot i plays the episode with seed i."""
        for column, task in enumerate(self._tasks.values()):
            self._totals[active, column] += earn(task, transition, step, seeds, active)

    @property
    def returns(self) -> np.ndarray:
        """Returns so far, (S, T) float64, tasks in the order given."""
        return self._totals


class Ends(NamedTuple):
    """How episodes ended.

    Attributes:
        lengths: Steps of each, (S,) int64.
        valid: False where an observation or action turned non-finite, (S,) bool.
    """

    lengths: np.ndarray
    valid: np.ndarray


@np.errstate(all="ignore")
def play(
    network: PolicyNetwork,
    params: Float[Tensor, "policies params"],
    simulator: Simulator,
    seeds: Sequence[int],
    horizon: int,
    observers: Sequence[Observer],
    ledger: Ledger | None = None,
) -> Ends:
    """Play one episode with each policy and let observers look on.

    Args:
        network: What the policies share.
        params: Their weights, (N, P); policy i plays in slot i.
        simulator: With at least N slots.
        seeds: Of the episodes, N of them.
        horizon: Steps after which an episode is cut off.
        observers: See observations and actions.
        ledger: Sees transitions, rewards among them.
    """
    slots = len(params)
    forward = BatchForward(network, params)
    observations = simulator.reset(list(seeds))
    lengths, valid = np.zeros(slots, dtype=np.int64), np.isfinite(observations).all(axis=1)
    active = np.flatnonzero(valid)
    with one_blas_thread():
        for step in range(horizon):
            actions = forward.act(observations[:, None, :], active)[:, 0] if len(active) else np.empty((0, 0))
            finite = np.isfinite(actions).all(axis=1)
            valid[active[~finite]] = False
            active, actions = active[finite], actions[finite]
            if not len(active):
                break
            for observer in observers:
                observer.see(step, active, observations[active], actions)
            transition = simulator.step(actions, active)
            if ledger is not None:
                ledger.enter(step, seeds, active, transition)
            observations[active] = transition.next_observations
            lengths[active] += 1
            finite = np.isfinite(transition.next_observations).all(axis=1)
            valid[active[~finite]] = False
            active = active[finite & ~transition.terminated]
    return Ends(lengths, valid)
