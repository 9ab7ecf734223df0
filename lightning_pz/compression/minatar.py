"""MinAtar's five games as images of bytes: Atari for two cores.

`MinAtar/<Game>-v1` has the actions that do something, `-v0` all six.

References:
    Young and Tian, MinAtar, 2019 (arXiv 1903.03176); github.com/kenjyoung/MinAtar.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class ByteImages(gymnasium.Wrapper):
    """A game whose observations are images of bytes, 255 where its own have a one, (channels, 10, 10) uint8.

    An action is repeated in the place of the next one with a probability of 0.1. The games remember the last action over
    the end of an episode; here an episode begins with none (action 0), so that it depends on its seed alone.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        height, width, channels = env.observation_space.shape  # type: ignore[misc]
        self.observation_space = spaces.Box(0, 255, (channels, height, width), np.uint8)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        """Begin an episode."""
        self.env.unwrapped.game.last_action = 0  # type: ignore[attr-defined]
        observation, info = self.env.reset(seed=seed, options=options)
        return _bytes(observation), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict]:
        """Advance by one frame."""
        observation, *rest = self.env.step(action)
        return _bytes(observation), *rest  # type: ignore[return-value]


def _bytes(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(image, 2, 0)).astype(np.uint8) * np.uint8(255)
