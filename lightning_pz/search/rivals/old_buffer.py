"""A replay buffer of Stable-Baselines3 that begins with episodes of a pool, for the library's own learners."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.buffers import ReplayBuffer

from lightning_pz.replay.transitions import Transitions


class OldAndNewReplay(ReplayBuffer):
    """The library's buffer for new transitions, beside old ones, which stay and are not saved with it.

    Args:
        old: Returns the old ones; called once.
        share: Of the old ones in a batch, once there are `enough` new ones; before, all are old.
    """

    def __init__(self, *args: Any, old: Callable[[], Transitions], share: float, enough: int, **more: Any) -> None:
        super().__init__(*args, **more)
        found, box = old(), self.action_space
        self.share, self.enough = share, enough
        self._old = (
            found.observations,
            # The library's learners act in -1..1.
            (2 * (found.actions - box.low) / (box.high - box.low) - 1).astype(np.float32),  # type: ignore[attr-defined]
            found.next_observations,
            found.terminated[:, None].astype(np.float32),
            found.rewards[:, None].astype(np.float32),
        )

    def sample(self, batch_size: int, env: Any = None) -> Any:
        """Draw a batch with replacement, by NumPy's global generator as the library does."""
        old = batch_size if self.size() < max(1, self.enough) else round(self.share * batch_size)
        rows = np.random.randint(0, len(self._old[0]), size=old)
        observations, actions, following, dones, rewards = (part[rows] for part in self._old)
        drawn: tuple[Any, ...] = (
            self._normalize_obs(observations, env), actions, self._normalize_obs(following, env), dones,
            self._normalize_reward(rewards, env),
        )  # fmt: skip
        tensors = [self.to_torch(part) for part in drawn]
        new: Any = super().sample(max(1, batch_size - old), env)
        if old == batch_size:
            # A draw of the library's tells what else a batch holds.
            return type(new)(*tensors, *new[5:])
        return type(new)(*(torch.cat(both) for both in zip(tensors, new[:5], strict=True)), *new[5:])
