"""Compression as a callback of Stable-Baselines3. Needs the extra `compression`."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor
from tqdm import tqdm

from lightning_pz.compression.compressor import Compressor
from lightning_pz.compression.methods.shadow import Shadow


class RecentObservations:
    """Keeps the newest observations that a learner acted on, whatever buffer it has.

    A rollout buffer is rows of zeros until it fills, and a replay buffer begins with the results of random actions.

    Args:
        most: How many to keep.
    """

    def __init__(self, most: int) -> None:
        self._seen: deque[np.ndarray] = deque(maxlen=most)

    def add(self, observations: Any) -> None:
        """Keep one step's observations of all environments, (E, ...), or a mapping of such, joined in its order."""
        if isinstance(observations, dict):
            # Goals and observation side by side, in the order in which the policy joins them.
            observations = np.concatenate([part.reshape(len(part), -1) for part in observations.values()], axis=1)
        self._seen.extend(np.array(observations))

    def states(self) -> Shaped[Tensor, "states ..."]:
        """Return them, oldest first, in their own type.

        Raises:
            ValueError: There are none.
        """
        if not self._seen:
            raise ValueError("no observation was seen yet")
        return torch.from_numpy(np.stack(list(self._seen)))

    def restore(self, states: Shaped[Tensor, "states ..."]) -> None:
        """Replace them by a result of `states`."""
        self._seen.clear()
        self._seen.extend(states.numpy())


class CompressionCallback(BaseCallback):
    """Advances a compressor with the environment steps, and logs its numbers.

    While the policy acts its gates have no noise; while it learns they do.

    Args:
        compressor: Of the model's policy network.
        shadow: Of its optimizer.
        total: Environment steps of the whole training, of which one call to `learn` may be a part.
        bar: Counts environment steps.
        recent: Takes observations as long as the compressor needs them; None where it never does.
    """

    def __init__(
        self,
        compressor: Compressor,
        shadow: Shadow,
        total: int,
        bar: tqdm,
        recent: RecentObservations | None = None,
    ) -> None:
        super().__init__()
        self.compressor, self.shadow, self.total, self.bar = compressor, shadow, total, bar
        self.recent = recent

    def _on_training_start(self) -> None:
        # Schedules such as DQN's exploration run over the whole training, not over this part.
        self.model._total_timesteps = self.total

    def _on_rollout_start(self) -> None:
        if self.compressor.noisy:
            self.shadow.settle()

    def _on_rollout_end(self) -> None:
        # Counting zeros after every step of an off-policy algorithm would cost more than it tells.
        every, steps = max(1, self.total // 500), self.num_timesteps
        if steps % every < max(1, self.training_env.num_envs) or steps % 2048 == 0:
            for name, value in self.compressor.scalars().items():
                self.logger.record(f"compress/{name}", value)
            self.logger.dump(steps)
        if self.compressor.noisy:
            self.shadow.write()

    def _on_step(self) -> bool:
        if self.recent is not None and not self.compressor.settled:
            # The observation that this step acted on; the next one takes its place after this call.
            self.recent.add(self.model._last_obs)
        if self.compressor.advance(self.num_timesteps):
            self.shadow.settle()
        self.bar.update(self.num_timesteps - self.bar.n)
        return True
