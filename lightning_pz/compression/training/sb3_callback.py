"""Compression as a callback of Stable-Baselines3. Needs the extra `compression`."""

from __future__ import annotations

from stable_baselines3.common.callbacks import BaseCallback
from tqdm import tqdm

from lightning_pz.compression.compressor import Compressor
from lightning_pz.compression.methods.shadow import Shadow
from lightning_pz.compression.training.recent import Recent


class CompressionCallback(BaseCallback):
    """Advances a compressor with the environment steps, and logs what it did.

    While the policy acts its gates have no noise; while it learns they do.

    Args:
        compressor: Of the model's policy network.
        shadow: Of its optimizer.
        total: Environment steps of the whole training, of which one call to `learn` may be a part.
        bar: Counts environment steps.
        recent: Takes what is acted on as long as the compressor needs it; None where it never does.
    """

    def __init__(
        self, compressor: Compressor, shadow: Shadow, total: int, bar: tqdm, recent: Recent | None = None
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
        if self._due():
            for name, value in self.compressor.scalars().items():
                self.logger.record(f"compress/{name}", value)
            self.logger.dump(self.num_timesteps)
        if self.compressor.noisy:
            self.shadow.write()

    def _on_step(self) -> bool:
        if self.recent is not None and not self.compressor.settled:
            # What this step acted on: the next observation takes its place only after this call.
            self.recent.add(self.model._last_obs)
        if self.compressor.advance(self.num_timesteps):
            self.shadow.settle()
        self.bar.update(self.num_timesteps - self.bar.n)
        return True

    def _due(self) -> bool:
        # Counting zeros after every step of an off-policy algorithm would cost more than it tells.
        every = max(1, self.total // 500)
        return self.num_timesteps % every < max(1, self.training_env.num_envs) or self.num_timesteps % 2048 == 0
