"""Transitions of kept policies' own episodes with the reward of any task, for learning from what the growth has seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from lightning_pz.common.progress import ProgressBar
from lightning_pz.envs.episodes import Step
from lightning_pz.envs.own_tasks import TaskFunction
from lightning_pz.pool.store import Pool
from lightning_pz.replay.replay_episodes import Rows, finite_rewards, replay_episodes


@dataclass(frozen=True)
class Transitions:
    """All n steps of some episodes, episode after episode, step after step."""

    observations: Float[np.ndarray, "steps observation"]  # raw, float32, as policies see them
    actions: Float[np.ndarray, "steps action"]  # as the simulator got them, clipped to the action box, float32
    rewards: Float[np.ndarray, " steps"]  # of the task, float64
    next_observations: Float[np.ndarray, "steps observation"]  # raw, float32
    terminated: Bool[np.ndarray, " steps"]  # whether the environment ended the episode; a cut at the horizon is no end
    episode: Int[np.ndarray, " steps"]  # to which of the given rows a step belongs: a place among them

    def __len__(self) -> int:
        return len(self.rewards)


def relabeled_transitions(
    pool: Pool, rows: Rows, task: TaskFunction, *, threads: int = 1, progress: bool | None = None
) -> Transitions:
    """Play policies' own episodes again, and return all their steps with the task's rewards.

    It costs no environment step of any budget. Raises `UserError` as `replay_episodes` does, or for a task that raises or
    gives a reward that is not finite.
    """
    sizes = pool.layout.observation_size, pool.layout.action_size
    parts: list[_Steps] = []

    def observe(own: Rows) -> list[_Steps]:
        parts.append(_Steps(task, own, sum(len(part.rows) for part in parts), *sizes))
        return parts[-1:]

    with ProgressBar(total=len(rows), desc="replay", unit="episode", progress=progress) as bar:
        replay_episodes(pool, rows, observe, threads=threads, on_ended=bar.update)
    arrays = [part.by_episode() for part in parts] or [_Steps(task, rows, 0, *sizes).by_episode()]
    return Transitions(*(np.concatenate(each) for each in zip(*arrays, strict=True)))


class _Steps:
    """Keeps all steps of a chunk of episodes, whose first is number `first` of all."""

    def __init__(self, task: TaskFunction, rows: Rows, first: int, observations: int, actions: int) -> None:
        self.task, self.rows, self.first = task, rows, first
        single = np.float32
        nothing = (
            np.empty((0, observations), single), np.empty((0, actions), single), np.empty(0),
            np.empty((0, observations), single), np.empty(0, dtype=bool), np.empty(0, dtype=np.int64),
        )  # fmt: skip
        self._kept: list[tuple[np.ndarray, ...]] = [nothing]

    def see(self, step: Step) -> None:
        seen, rewards = step.transition, finite_rewards(self.task, step, self.rows)
        before, after = (part.astype(np.float32) for part in (seen.observations, seen.next_observations))
        actions = seen.actions.astype(np.float32, copy=False)
        self._kept.append((before, actions, rewards, after, seen.terminated, step.active))

    def by_episode(self) -> list[np.ndarray]:
        *arrays, slots = (np.concatenate(each) for each in zip(*self._kept, strict=True))
        self._kept = self._kept[:1]
        order = np.argsort(slots, kind="stable")
        return [*(array[order] for array in arrays), slots[order] + self.first]
