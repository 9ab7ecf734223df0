"""A features extractor of residual blocks, the second network for Atari games. Needs Stable-Baselines3.

References:
    Espeholt et al., IMPALA, 2018 (arXiv 1802.01561), figure 3, the deep network without its LSTM.
"""

from __future__ import annotations

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from lightning_pz.compression.modules import Residual


class ResidualCNN(BaseFeaturesExtractor):
    """Three stages of convolution, pooling and two residual blocks, then a linear layer.

    Args:
        observation_space: Images, channels first.
        features_dim: Numbers that come out.
        channels: Of the three stages.
    """

    def __init__(
        self, observation_space: spaces.Box, features_dim: int = 256, channels: tuple[int, ...] = (16, 32, 32)
    ) -> None:
        super().__init__(observation_space, features_dim)
        modules: list[nn.Module] = []
        last = observation_space.shape[0]
        for width in channels:
            modules += [nn.Conv2d(last, width, 3, padding=1), nn.MaxPool2d(3, 2, 1), _block(width), _block(width)]
            last = width
        self.cnn = nn.Sequential(*modules, nn.ReLU(), nn.Flatten())
        with torch.no_grad():
            size = self.cnn(torch.zeros(1, *observation_space.shape)).shape[1]
        self.linear = nn.Sequential(nn.Linear(size, features_dim), nn.ReLU())

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Return features, (batch, features_dim)."""
        return self.linear(self.cnn(observations))


def _block(width: int) -> Residual:
    first, second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
    return Residual(nn.Sequential(nn.ReLU(), first, nn.ReLU(), second))
