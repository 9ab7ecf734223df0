"""A replay buffer whose batches mix transitions of a pool's episodes with those of the search's own."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
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
    # Where rewards of several steps are added up, the discount of all steps but one.


class MixedReplay(ReplayBuffer):
    """Stable-Baselines3's buffer for what is new, beside what is old, which stays and is not saved with it.

    Args:
        network: Standardizes states and scales actions.
        old: Transitions that were there before; none if None.
        share: Of the old ones in a batch, once there are `enough` new ones; before, all are old if there are any.
        old_steps: Of a return of old transitions; see `returns_of_steps`.
        discount: Per step, in those returns.
    """

    def __init__(
        self, *args: Any, network: PolicyNetwork, old: Transitions | None, share: float, enough: int, old_steps: int = 1,
        discount: float = 1.0, **more: Any,
    ) -> None:  # fmt: skip
        super().__init__(*args, **more)
        self.network, self.share, self.enough = network, share, enough
        # Views, so that what is added or resumed is seen.
        names = ("observations", "actions", "next_observations", "rewards", "dones", "timeouts")
        self._new = [torch.from_numpy(getattr(self, name))[:, 0] for name in names]
        self._old = None if old is None else self._rows(old, old_steps, discount)

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

    def _rows(self, old: Transitions, steps: int, discount: float) -> Float[Tensor, "steps numbers"]:
        """Return each transition as one row, so that a batch is one gather."""
        network = self.network
        actions = torch.from_numpy(old.actions)
        scaled = 2 * (actions - network.action_low) / (network.action_high - network.action_low) - 1
        rewards, last, continues = returns_of_steps(old, steps, discount)
        before, after = (
            network.standardize(torch.from_numpy(part)) for part in (old.observations, old.next_observations[last])
        )
        numbers = (torch.from_numpy(part).float()[:, None] for part in (rewards, continues))
        return torch.cat([before, scaled, after, *numbers], dim=1)


def returns_of_steps(
    old: Transitions, steps: int, discount: float
) -> tuple[Float[np.ndarray, " steps"], Int[np.ndarray, " steps"], Float[np.ndarray, " steps"]]:
    """Return the discounted rewards of up to so many steps from each transition on, the last of those, and what continues.

    A return stops with its episode, whether that ends or is cut. From step t over the m steps to the last, the target of the
    critics is `r_t + g r_(t+1) + ... + g^(m-1) r_(t+m-1) + g c V(s_(t+m))` with the discount g and `c = g^(m-1)`, or 0 after an
    end. Actions after the first are those of the episode's policy, not of the one that learns: there is no correction for it
    (the uncorrected n-step return, Hessel et al., "Rainbow", 2018; Fedus et al., "Revisiting fundamentals of experience
    replay", 2020).
    """
    count = len(old)
    is_last = old.terminated.copy()
    is_last[np.flatnonzero(np.diff(old.episode))] = True
    is_last[-1:] = True
    stops = np.flatnonzero(is_last)
    index = np.arange(count)
    last = np.minimum(index + steps - 1, stops[np.searchsorted(stops, index)])
    rewards = np.zeros(count)
    for step in range(steps):
        reached = index + step
        rewards += np.where(reached <= last, discount**step * old.rewards[np.minimum(reached, count - 1)], 0.0)
    return rewards, last, np.where(old.terminated[last], 0.0, discount ** (last - index).astype(np.float64))
