"""Episodes played by any way of acting, noise included, with all that happened kept for a gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lightning_pz.envs.forward import BatchForward, one_blas_thread
from lightning_pz.envs.own_tasks import TaskFunction, earn
from lightning_pz.envs.simulators.protocol import Simulator

Act = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From raw observations of all slots, (S, O) float64, and the active slots, (n,), to actions, (n, A) float32."""


@dataclass(frozen=True)
class Episodes:
    """S episodes of at most T steps, padded with zeros after their end.

    Attributes:
        observations: What was acted on, (S, T, O) float32, raw.
        actions: What was wanted, (S, T, A) float32, before it was clipped to the action box.
        rewards: The task's, (S, T) float64.
        lengths: Steps of each, (S,) int64.
        valid: False where an observation, an action or a reward, Gymnasium's own included, turned non-finite, (S,) bool.
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    lengths: np.ndarray
    valid: np.ndarray

    @property
    def steps(self) -> int:
        """Environment steps in all; at least one an episode, even of one that is invalid before its first."""
        return int(np.maximum(self.lengths, 1).sum())

    def returns(self) -> np.ndarray:
        """Return the undiscounted return of each episode, (S,) float64; NaN where invalid."""
        return np.where(self.valid, self.rewards.sum(1), np.nan)

    def mask(self) -> np.ndarray:
        """Return which steps were played in valid episodes, (S, T) bool."""
        return (np.arange(self.rewards.shape[1]) < self.lengths[:, None]) & self.valid[:, None]


@np.errstate(all="ignore")
def play(act: Act, simulator: Simulator, seeds: Sequence[int], task: TaskFunction, horizon: int) -> Episodes:
    """Play one episode in each of the first `len(seeds)` slots.

    Args:
        act: Way of acting; what it returns is clipped to the action box before it is applied.
        simulator: With at least that many slots.
        seeds: Of the episodes.
        task: Reward function.
        horizon: Steps after which an episode is cut off.
    """
    spec, slots = simulator.spec, len(seeds)
    low, high = np.array([spec.action_low, spec.action_high], dtype=np.float32)
    observations = simulator.reset(seeds)
    lengths, valid = np.zeros(slots, dtype=np.int64), np.isfinite(observations).all(axis=1)
    active = np.flatnonzero(valid)
    kept: list[tuple[np.ndarray, ...]] = []
    with one_blas_thread():
        while len(kept) < horizon and len(active):
            wanted = act(observations, active)
            finite = np.isfinite(wanted).all(axis=1)
            valid[active[~finite]] = False
            active, wanted = active[finite], wanted[finite]
            if not len(active):
                break
            transition = simulator.step(np.clip(wanted, low, high), active)
            rewards = earn(task, transition, len(kept), seeds, active)
            kept.append((active, observations[active].astype(np.float32), wanted, rewards))
            observations[active] = transition.next_observations
            lengths[active] += 1
            finite = np.isfinite(transition.next_observations).all(axis=1)
            finite &= np.isfinite([transition.rewards, rewards]).all(axis=0)
            valid[active[~finite]] = False
            active = active[finite & ~transition.terminated]
    steps = len(kept)
    episodes = Episodes(
        np.zeros((slots, steps, spec.observation_size), dtype=np.float32),
        np.zeros((slots, steps, spec.action_size), dtype=np.float32),
        np.zeros((slots, steps)),
        lengths,
        valid,
    )
    for step, (who, seen, wanted, rewards) in enumerate(kept):
        episodes.observations[who, step] = seen
        episodes.actions[who, step] = wanted
        episodes.rewards[who, step] = rewards
    return episodes


def noisy(forward: BatchForward, episodes: int, noise: np.ndarray, generator: np.random.Generator) -> Act:
    """Return policies' actions plus Gaussian noise; slot p * E + e belongs to episode e of policy p.

    Args:
        forward: The policies.
        episodes: Episodes per policy, E.
        noise: Standard deviation for each action coordinate, (A,), in the action's units.
        generator: Where the noise comes from.
    """

    def act(observations: np.ndarray, active: np.ndarray) -> np.ndarray:
        acting, which = np.unique(active // episodes, return_inverse=True)
        by_policy = observations.reshape(-1, episodes, observations.shape[1])
        means = forward.act(by_policy, acting)[which, active % episodes]
        # For every slot, whether it still plays or not, so that an ended episode does not shift another's noise.
        draws = generator.standard_normal((len(observations), means.shape[1]), dtype=np.float32)
        return means + np.float32(noise) * draws[active]

    return act
