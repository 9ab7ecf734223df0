"""A features extractor of one convolution, for small images. Needs Stable-Baselines3.

References:
    Young and Tian, MinAtar, 2019 (arXiv 1903.03176), section 4: 16 kernels of 3 x 3, then 128 units.
"""

from __future__ import annotations

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn


class SmallCNN(BaseFeaturesExtractor):
    """One convolution, then a linear layer.

    Args:
        observation_space: Images, channels first.
        features_dim: Numbers that come out.
        channels: Of the convolution.
    """

    def __init__(self, observation_space: spaces.Box, features_dim: int = 128, channels: int = 16) -> None:
        super().__init__(observation_space, features_dim)
        self.cnn = nn.Sequential(nn.Conv2d(observation_space.shape[0], channels, 3), nn.ReLU(), nn.Flatten())
        with torch.no_grad():
            size = self.cnn(torch.zeros(1, *observation_space.shape)).shape[1]
        self.linear = nn.Sequential(nn.Linear(size, features_dim), nn.ReLU())

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Return features, (batch, features_dim)."""
        return self.linear(self.cnn(observations))
