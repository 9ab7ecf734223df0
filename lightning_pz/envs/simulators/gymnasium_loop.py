"""Simulates any other environment by Gymnasium itself, one after another in this process.

Worker processes cost more than they bring for environments whose step takes
microseconds: `AsyncVectorEnv` made a quarter of the steps of a plain loop on two cores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from lightning_pz.envs.simulators.classic_choices import CHOICE_FORMULAS
from lightning_pz.envs.simulators.protocol import Physics, Transition, check_seeds
from lightning_pz.envs.specs import EnvSpec

_STATES = {"MountainCarContinuous-v0": ((0,), (1,)), "Pendulum-v1": ((0,), (1,))} | {
    env_id: (formulas.positions, formulas.velocities) for env_id, formulas in CHOICE_FORMULAS.items()
}
"""Which numbers of `env.state` are positions and which velocities."""
_SECONDS = {"CartPole-v1": CHOICE_FORMULAS["CartPole-v1"].dt, "LunarLander-v3": 0.02}
"""Seconds of a control step in environments that have them under another name than `dt`."""


class GymnasiumSimulator:
    """Episodes of any registered environment with flat Box observations, and actions of a flat Box or chosen.

    Environments are made when a slot is first used, and kept: by `make`, or the registered one, without its step limit.
    `physics` says whether transitions hold positions and velocities, which nothing but tasks reads.
    """

    def __init__(
        self, spec: EnvSpec, size: int, make: Callable[[], gymnasium.Env] | None = None, physics: bool = True
    ) -> None:
        self.spec, self.size, self._reads_physics = spec, size, physics
        # The loop counts steps itself, up to a horizon that need not be the registered one.
        self._make = make or (lambda: spec.make(max_episode_steps=-1))
        self._envs: list[gymnasium.Env] = []
        self._observations = np.zeros((size, spec.observation_size))
        self._dt = 1.0

    def reset(self, seeds: Sequence[int]) -> np.ndarray:
        """Begin an episode in each of the first slots; see `Simulator.reset`, and `envs.guarded` for errors."""
        check_seeds(seeds, self.size)
        while len(self._envs) < len(seeds):
            self._envs.append(self._make())
        self._dt = control_seconds(self._envs[0])
        for env, row, seed in zip(self._envs, self._observations, seeds, strict=False):
            row[:] = env.reset(seed=int(seed))[0]
        return self._observations[: len(seeds)].copy()

    def step(self, actions: np.ndarray, active: np.ndarray) -> Transition:
        """Advance the active slots by one step; see `Simulator.step`."""
        observations = self._observations[active]
        before = self._physics(active)
        rewards, (terminated, truncated) = np.zeros(len(active)), np.zeros((2, len(active)), dtype=bool)
        for row, slot in enumerate(active.tolist()):
            env = self._envs[slot]
            result = env.step(to_action(env, actions[row]))
            self._observations[slot], rewards[row], terminated[row], truncated[row], _ = result
        next_observations = self._observations[active]
        after = self._physics(active)
        return Transition(
            observations, actions, next_observations, rewards, terminated, before, after, self._dt, truncated
        )

    def close(self) -> None:
        """Close all environments."""
        for env in self._envs:
            env.close()

    def _physics(self, active: np.ndarray) -> Physics:
        if not self._reads_physics:
            return Physics(*np.empty((2, len(active), 0)))
        each = [read_physics(self._envs[slot], self._observations[slot]) for slot in active.tolist()]
        return Physics(*map(np.stack, zip(*each, strict=True)))


def to_action(env: gymnasium.Env, numbers: np.ndarray) -> Any:
    """Return an action as the environment's space has it, from its numbers, (A,): a whole number where it is `Discrete`."""
    space = env.action_space
    if isinstance(space, Discrete):
        return int(numbers[0])
    return numbers if isinstance(space, Box) else numbers.astype(space.dtype)


def read_physics(env: gymnasium.Env, observation: np.ndarray) -> Physics:
    """Copy positions (Q,) and velocities (V,) out of one Gymnasium environment, as `Physics` has them."""
    bare = env.unwrapped
    data = getattr(bare, "data", None)
    if hasattr(data, "qpos") and hasattr(data, "qvel"):
        return Physics(np.array(data.qpos), np.array(data.qvel))  # type: ignore[union-attr]
    if bare.spec is not None and bare.spec.id in _STATES:
        state = np.array(bare.state, dtype=np.float64)  # type: ignore[attr-defined]
        return Physics(*(state[list(numbers)] for numbers in _STATES[bare.spec.id]))
    return Physics(np.array(observation, dtype=np.float64), np.empty(0))


def control_seconds(env: gymnasium.Env) -> float:
    """Return the seconds of one control step, or 1 where the environment does not say."""
    bare = env.unwrapped
    known = None if bare.spec is None else _SECONDS.get(bare.spec.id)
    seconds = getattr(bare, "dt", known)
    return float(seconds) if isinstance(seconds, int | float | np.number) else 1.0
