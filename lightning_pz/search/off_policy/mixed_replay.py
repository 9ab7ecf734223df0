"""A replay buffer whose batches mix transitions of a pool's episodes with those of the search's own."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from stable_baselines3.common.buffers import ReplayBuffer
from torch import Tensor

from lightning_pz.policy import PolicyNetwork
from lightning_pz.replay.transitions import Transitions


class Batch(NamedTuple):
    """Transitions to learn from, standardized and float32."""

    states: Float[Tensor, "batch observation"]
    actions: Float[Tensor, "batch action"]  # in units of the action box, -1 to 1
    following: Float[Tensor, "batch observation"]  # the next states
    rewards: Float[Tensor, " batch"]
    continues: Float[Tensor, " batch"]  # 1, or 0 where the environment ended the episode; a horizon is no such end


class MixedReplay(ReplayBuffer):
    """Stable-Baselines3's buffer for what is new, beside what is old, which stays and is not saved with it.

    Args:
        network: Standardizes states and scales actions.
        old: Transitions that were there before; none if None.
        share: Of the old ones in a batch, once there are `enough` new ones; before, all are old if there are any.
    """

    def __init__(
        self, *args: Any, network: PolicyNetwork, old: Transitions | None, share: float, enough: int, **more: Any
    ) -> None:
        super().__init__(*args, **more)
        self.network, self.share, self.enough = network, share, enough
        # Views, so that what is added or resumed is seen.
        names = ("observations", "actions", "next_observations", "rewards", "dones", "timeouts")
        self._new = [torch.from_numpy(getattr(self, name))[:, 0] for name in names]
        self._old = None if old is None else self._rows(old)

    def batch(self, size: int) -> Batch:
        """Draw a batch with replacement, by PyTorch's global generator; there must be a transition."""
        new = self.size()
        old = 0 if self._old is None else size if new < max(1, self.enough) else round(self.share * size)
        parts = []
        if old and self._old is not None:
            rows = self._old[torch.randint(len(self._old), (old,))]
            o, a = self.obs_shape[0], self.action_dim
            states, actions, following, rewards, continues = rows.split([o, a, o, 1, 1], dim=1)
            parts.append(Batch(states, actions, following, rewards[:, 0], continues[:, 0]))
        if size > old:
            index = torch.randint(new, (size - old,))
            raw, actions, following, rewards, dones, timeouts = (part[index] for part in self._new)
            states, following = self.network.standardize(raw.float()), self.network.standardize(following.float())
            parts.append(Batch(states, actions.float(), following, rewards.float(), 1 - dones * (1 - timeouts)))
        return parts[0] if len(parts) == 1 else Batch(*(torch.cat(both) for both in zip(*parts, strict=True)))

    def _rows(self, old: Transitions) -> Float[Tensor, "steps numbers"]:
        """Return each transition as one row, so that a batch is one gather."""
        network = self.network
        actions = torch.from_numpy(old.actions)
        scaled = 2 * (actions - network.action_low) / (network.action_high - network.action_low) - 1
        before, after = (
            network.standardize(torch.from_numpy(part)) for part in (old.observations, old.next_observations)
        )
        rewards, continues = torch.from_numpy(old.rewards), torch.from_numpy(~old.terminated)
        return torch.cat([before, scaled, after, rewards[:, None].float(), continues[:, None].float()], dim=1)
