"""Compression as a callback of Stable-Baselines3. Needs the extra `compression`."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from tqdm import tqdm

from lightning_pz.compression.compressor import Compressor
from lightning_pz.compression.methods.shadow import Shadow


class CompressionCallback(BaseCallback):
    """Advances a compressor with the environment steps, and logs its numbers.

    While the policy acts its gates have no noise; while it learns they do.

    Args:
        compressor: Of the model's policy network.
        shadow: Of its optimizer.
        total: Environment steps of the whole training, of which one call to `learn` may be a part.
        bar: Counts environment steps.
        recent: Takes the observations acted on while the compressor needs them; None where it never does. No buffer holds
            them: a rollout buffer is zeros until it fills, and a replay buffer begins with the results of random actions.
    """

    def __init__(
        self, compressor: Compressor, shadow: Shadow, total: int, bar: tqdm, recent: deque[np.ndarray] | None = None
    ) -> None:
        super().__init__()
        self.compressor, self.shadow, self.total, self.bar, self.recent = compressor, shadow, total, bar, recent

    def _on_training_start(self) -> None:
        # Schedules such as DQN's exploration run over the whole training, not over this part.
        self.model._total_timesteps = self.total

    def _on_rollout_start(self) -> None:
        if self.compressor.gates:
            self.shadow.settle()

    def _on_rollout_end(self) -> None:
        # Counting zeros after every step of an off-policy algorithm would slow it down.
        every, steps = max(1, self.total // 500), self.num_timesteps
        if steps % every < max(1, self.training_env.num_envs) or steps % 2048 == 0:
            for name, value in self.compressor.scalars().items():
                self.logger.record(f"compress/{name}", value)
            self.logger.dump(steps)
        if self.compressor.gates:
            self.shadow.write()

    def _on_step(self) -> bool:
        if self.recent is not None and not self.compressor.settled:
            # The observations that this step acted on; the next ones take their place after this call.
            seen: Any = self.model._last_obs
            if isinstance(seen, dict):
                # Goals and observation side by side, in the order in which the policy joins them.
                seen = np.concatenate([part.reshape(len(part), -1) for part in seen.values()], axis=1)
            self.recent.extend(np.array(seen))
        if self.compressor.advance(self.num_timesteps):
            self.shadow.settle()
        self.bar.update(self.num_timesteps - self.bar.n)
        return True
