"""TD3, SAC and TQC of Stable-Baselines3 with a decoded actor, batched critics and updates of few calls.

Loop, schedules, noise and packing are the library's; an update computes what its own `train` computes (a test compares them),
with all critics in one product, one fused optimizer step and one `lerp` for the targets, and without the gradients of the
critics' weights that its actor update throws away. Importing this module imports the library.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib import TQC
from sb3_contrib.common.utils import quantile_huber_loss
from stable_baselines3 import SAC, TD3
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor, nn

from lightning_pz.policy import PolicyNetwork
from lightning_pz.search.off_policy.actor import DecodedActor
from lightning_pz.search.off_policy.critics import Critics
from lightning_pz.search.off_policy.mixed_replay import Batch


class _Target(nn.Module):
    """Weights that follow others slowly."""

    flat: Tensor

    def __init__(self, flat: Tensor) -> None:
        super().__init__()
        self.register_buffer("flat", flat.detach().clone())

    def follow(self, flat: Tensor, rate: float) -> None:
        self.flat.lerp_(flat.detach(), rate)


class DecodedPolicy(BasePolicy):
    """Actor, critics and their targets as the library expects them.

    Args:
        make_actor: Returns the actor, whose parameters it owns.
        critics: Number, hidden widths and outputs of the critics.
        rates: Adam's learning rates: of latents, of weights and of critics.
    """

    actor: Any
    critic: Any

    def __init__(
        self,
        observation_space: spaces.Box,
        action_space: spaces.Box,
        lr_schedule: Callable[[float], float],
        *,
        make_actor: Callable[[], DecodedActor],
        critics: dict[str, Any],
        rates: tuple[float, float, float],
        network: PolicyNetwork,
        **unused: Any,  # what the library adds, such as use_sde
    ) -> None:
        super().__init__(observation_space, action_space)
        latent_rate, rate, critic_rate = rates
        self.shared = [network]  # in a list, so that its statistics are no part of what is saved
        self.actor = make_actor()
        self.actor_target = _Target(self.actor.params())
        size = network.layout.observation_size + network.layout.action_size
        self.critic = Critics(inputs=size, **critics)
        self.critic_target = _Target(self.critic.flat)
        self.actor.optimizer = torch.optim.Adam(self.actor.groups(latent_rate, rate), fused=True)
        self.critic.optimizer = torch.optim.Adam(self.critic.parameters(), lr=critic_rate, fused=True)

    def _predict(self, observation: Any, deterministic: bool = False) -> Tensor:
        actor = self.actor
        return torch.tanh(actor.outputs(actor.params().detach(), self.shared[0].standardize(observation.float())))


class _OwnUpdates:
    """The part that all three share; the class beside it is the library's."""

    policy: Any
    critics_only = False  # whether the actor rests
    explores = True  # whether an episode is played with noise; else by the average of the actors so far
    noise = 0.1  # of TD3's episodes, in half action boxes
    tie = 0.0  # weight of the squared difference from the actions of `tied_to`, relative to the mean size of values
    tied_to: Tensor | None = None  # weights of a policy

    def train(self: Any, gradient_steps: int, batch_size: int = 256) -> None:
        """Do so many updates."""
        for _ in range(gradient_steps):
            self._n_updates += 1
            self._update(self.replay_buffer.batch(batch_size))

    def _sample_action(self: Any, *unused: Any, **more: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the next action in the environment's units, and in those of the action box."""
        policy, actor = self.policy, self.policy.actor
        states = policy.shared[0].standardize(torch.from_numpy(self._last_obs).float())
        with torch.no_grad():
            params = actor.params().detach() if self.explores else policy.actor_target.flat
            actions = self._act(actor, params, states).numpy()
        return policy.unscale_action(actions), actions

    def _fit_critics(self: Any, batch: Batch, target: Tensor) -> None:
        """Step the critics towards a target of their values, (B,) or by quantiles (B, T)."""
        critic = self.policy.critic
        inputs = torch.cat([batch.states, batch.actions], 1)
        critic.flat.grad = critic.gradients(inputs, lambda values: self._loss_gradient(values, target))
        critic.optimizer.step()

    def _next_values(self: Any, batch: Batch, actions: Tensor) -> Tensor:
        """Return what the target critics say of the next states, (C, B, outputs)."""
        policy = self.policy
        return policy.critic.values(policy.critic_target.flat, torch.cat([batch.following, actions], 1))

    def _values(self: Any, batch: Batch, actions: Tensor, count: int | None = None) -> Tensor:
        """Return what the first critics say of the actor's actions, with gradients of the actions alone."""
        return self.policy.critic.values_of(batch.states, actions, count)

    def _move_actor(self: Any, batch: Batch, loss: Tensor, values: Tensor, means: Tensor) -> None:
        """Step the actor down its loss, tied to a policy if it is, whose pull counts in units of the values."""
        actor = self.policy.actor
        if self.tie and self.tied_to is not None:
            with torch.no_grad():
                goal, size = torch.tanh(actor.outputs(self.tied_to, batch.states)), values.abs().mean()
            loss = loss + self.tie * size * (means - goal).square().mean()
        actor.optimizer.zero_grad()
        loss.backward()
        actor.optimizer.step()
        actor.changed()


class DecodedTD3(_OwnUpdates, TD3):
    """TD3 (Fujimoto et al., 2018)."""

    def _act(self, actor: DecodedActor, params: Tensor, states: Tensor) -> Tensor:
        actions = torch.tanh(actor.outputs(params, states))
        return (actions + self.noise * torch.randn_like(actions)).clamp_(-1, 1) if self.explores else actions

    def _loss_gradient(self, values: Tensor, target: Tensor) -> Tensor:
        """Return the gradient of the sum over critics of the mean squared error."""
        return (values - target[:, None]) * (2 / len(target))

    def _update(self, batch: Batch) -> None:
        policy, actor = self.policy, self.policy.actor
        with torch.no_grad():
            noise = torch.randn_like(batch.actions).mul_(self.target_policy_noise)
            noise.clamp_(-self.target_noise_clip, self.target_noise_clip)
            actions = torch.tanh(actor.outputs(policy.actor_target.flat, batch.following)).add_(noise).clamp_(-1, 1)
            values = self._next_values(batch, actions)[..., 0].amin(0)
            target = batch.rewards + self.gamma * batch.continues * values
        self._fit_critics(batch, target)
        if self._n_updates % self.policy_delay:
            return
        if not self.critics_only:
            actions = torch.tanh(actor.outputs(actor.params(), batch.states))
            values = self._values(batch, actions, 1)
            self._move_actor(batch, -values.mean(), values, actions)
        policy.critic_target.follow(policy.critic.flat, self.tau)
        policy.actor_target.follow(actor.params(), self.tau)


class _WithEntropy(_OwnUpdates):
    """What SAC and TQC share: a random actor, with one standard deviation of each action for all states."""

    def _act(self, actor: DecodedActor, params: Tensor, states: Tensor) -> Tensor:
        return actor.draw(params, states)[0] if self.explores else torch.tanh(actor.outputs(params, states))

    def _update(self: Any, batch: Batch) -> None:
        policy, actor = self.policy, self.policy.actor
        params = actor.params()
        if not self.critics_only:
            actions, log_density = actor.draw(params, batch.states)
        temperature = self.log_ent_coef.detach().exp()
        if not self.critics_only:
            self.ent_coef_optimizer.zero_grad()
            (-self.log_ent_coef * (log_density.detach().mean() + self.target_entropy)).sum().backward()
            self.ent_coef_optimizer.step()
        with torch.no_grad():
            following, next_density = actor.draw(params, batch.following)
            target = self._target(batch, self._next_values(batch, following), temperature * next_density)
        self._fit_critics(batch, target)
        if not self.critics_only:
            values = self._worst(self._values(batch, actions))
            means = torch.tanh(actor.outputs(params, batch.states)) if self.tie else actions
            self._move_actor(batch, (temperature * log_density - values).mean(), values, means)
            policy.actor_target.follow(actor.params(), self.tau)
        policy.critic_target.follow(policy.critic.flat, self.tau)


class DecodedSAC(_WithEntropy, SAC):
    """SAC (Haarnoja et al., 2018)."""

    def _loss_gradient(self, values: Tensor, target: Tensor) -> Tensor:
        """Return the gradient of the sum over critics of half the mean squared error."""
        return (values - target[:, None]) / len(target)

    def _worst(self, values: Tensor) -> Tensor:
        return values[..., 0].amin(0)

    def _target(self, batch: Batch, values: Tensor, entropy: Tensor) -> Tensor:
        """Return the target of the critics from the next values, (C, B, outputs), and the entropy term, (B,)."""
        return batch.rewards + self.gamma * batch.continues * (values[..., 0].amin(0) - entropy)


class DecodedTQC(_WithEntropy, TQC):
    """TQC (Kuznetsov et al., 2020): critics give quantiles, of which the highest of all critics together are dropped."""

    def _loss_gradient(self, values: Tensor, target: Tensor) -> Tensor:
        """Return the gradient of the library's quantile loss."""
        with torch.enable_grad():
            leaf = values.requires_grad_()
            loss = quantile_huber_loss(leaf.transpose(0, 1), target[:, None], sum_over_quantiles=False)
            return torch.autograd.grad(loss, leaf)[0]

    def _worst(self, values: Tensor) -> Tensor:
        return values.mean((0, 2))

    def _target(self, batch: Batch, values: Tensor, entropy: Tensor) -> Tensor:
        every = values.transpose(0, 1).flatten(1)
        kept = every.shape[1] - self.top_quantiles_to_drop_per_net * len(values)
        low = every.sort(1).values[:, :kept]
        return batch.rewards[:, None] + self.gamma * batch.continues[:, None] * (low - entropy[:, None])
