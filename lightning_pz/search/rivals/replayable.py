"""Episodes that can be played again to the same state, so that a learner resumes in the middle of one."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from lightning_pz.common.errors import UserError
from lightning_pz.envs.episode_seeds import episode_seeds


class ReplayableEpisodes(gymnasium.Wrapper):
    """An environment whose episodes have known seeds, and that keeps the actions of the one under way.

    Its episode with number n, from 0 on, has the seed `episode_seeds(seed, n, count)[index]`, whatever seed a reset gives:
    of `count` environments side by side it is the one with that index.
    """

    def __init__(self, env: gymnasium.Env, seed: int, index: int, count: int) -> None:
        super().__init__(env)
        self._place = (seed, index, count)
        self.number = -1  # of the episode under way
        self.ended = 0  # episodes so far
        self.actions: list[np.ndarray] = []  # of the episode under way
        self._seen = np.empty(0)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        """Begin the next episode."""
        own, index, count = self._place
        self.number, self.actions = self.number + 1, []
        observation, info = self.env.reset(seed=episode_seeds(own, self.number, count)[index], options=options)
        self._seen = np.array(observation)
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict]:
        """Advance by one step, and keep the action."""
        result = self.env.step(action)
        self.actions.append(np.array(action))
        self._seen = np.array(result[0])
        self.ended += bool(result[2] or result[3])
        return result

    def pack(self) -> dict[str, Any]:
        """Return what brings another such environment to the same state."""
        return {
            "number": self.number, "ended": self.ended, "actions": [action.tolist() for action in self.actions],
            "seen": self._seen.tolist(),
        }  # fmt: skip

    def replay(self, packed: dict[str, Any], outermost: gymnasium.Env) -> None:
        """Play the packed episode again, through the outermost of the wrappers around this one.

        Raises `UserError` if it does not end at the observation that it had: then it depends on more than its seed.
        """
        self.number = packed["number"] - 1
        outermost.reset()
        kind = self.action_space.dtype
        for action in packed["actions"]:
            outermost.step(np.array(action, dtype=kind)[()])  # a number is no array, as the learner gave it
        self.ended = packed["ended"]
        if not np.array_equal(self._seen, np.array(packed["seen"])):
            raise UserError(
                "this run cannot be resumed: its episode, played again with the same seed and actions, ended in another "
                "state, so the environment depends on more than its seed: delete the run's folder to begin again"
            )
