"""The last observations that a learner of Stable-Baselines3 acted on."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor


class Recent:
    """Keeps the newest observations, whatever buffer the learner has, and of them only what was seen.

    A rollout buffer is rows of zeros until it fills, and a replay buffer begins with what random actions led to.

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
        """Return them, oldest first, in the type in which they came.

        Raises:
            ValueError: There are none.
        """
        if not self._seen:
            raise ValueError("no observation was seen yet")
        return torch.from_numpy(np.stack(list(self._seen)))

    def restore(self, states: Shaped[Tensor, "states ..."]) -> None:
        """Go back to what `states` returned."""
        self._seen.clear()
        self._seen.extend(states.numpy())
