"""The networks of Stable-Baselines3's models, as plain `nn.Sequential`s."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from torch import nn

from lightning_pz.common.errors import UserError
from lightning_pz.compression.modules import Divide, ToBox
from lightning_pz.compression.training.sb3_models import READ_ALGORITHMS


def network_of(model: Any) -> nn.Sequential:
    """Return the deterministic policy of a model: raw observation in; action in the box, or scores of actions, out.

    The layers are the model's own, not copies. Raises `UserError` for a policy of other parts than the stock ones.
    """
    policy, space = model.policy, model.action_space
    kind = type(model).__name__.lower()
    if kind == "dqn":
        return nn.Sequential(*_features(policy.q_net.features_extractor, policy), *policy.q_net.q_net)
    if kind == "ppo":
        extractor, head = policy.pi_features_extractor, [*policy.mlp_extractor.policy_net, policy.action_net]
    elif kind in ("sac", "tqc", "td3"):
        actor = policy.actor
        # TD3's last module is a tanh, which `ToBox` has too.
        extractor = actor.features_extractor
        head = [*actor.mu[:-1]] if kind == "td3" else [*actor.latent_pi, *_mean(actor.mu, space)]
    else:
        raise UserError(
            f"--policy reads models of {', '.join(READ_ALGORITHMS)}, but this one is {type(model).__name__}"
        )
    layers = [*_features(extractor, policy), *head]
    if isinstance(space, spaces.Discrete):
        return nn.Sequential(*layers)
    if not isinstance(space, spaces.Box):
        raise UserError(f"expected Box or Discrete actions, but this policy has {type(space).__name__}")
    squash = "tanh" if kind != "ppo" or policy.squash_output else "clip"
    return nn.Sequential(*layers, ToBox(torch.from_numpy(space.low), torch.from_numpy(space.high), squash))


def optimizer_of(model: Any) -> torch.optim.Optimizer:
    """Return the optimizer whose steps change the deterministic policy."""
    policy = model.policy
    return policy.actor.optimizer if type(model).__name__ in ("SAC", "TD3") else policy.optimizer


def _mean(layer: nn.Module, space: Any) -> list[nn.Module]:
    """Return the last layer of an actor, and the bounds that one with noise that depends on states (gSDE) puts on it."""
    parts = [*layer] if isinstance(layer, nn.Sequential) else [layer]
    if isinstance(bound := parts[-1], nn.Hardtanh):
        parts[-1] = ToBox(torch.full(space.shape, bound.min_val), torch.full(space.shape, bound.max_val), "clip")
    return parts


def _features(extractor: nn.Module, policy: Any) -> list[nn.Module]:
    from stable_baselines3.common.preprocessing import is_image_space
    from stable_baselines3.common.torch_layers import CombinedExtractor, FlattenExtractor

    if isinstance(extractor, FlattenExtractor):
        return [nn.Flatten()]
    if isinstance(extractor, CombinedExtractor):
        if all(type(part) is nn.Flatten for part in extractor.extractors.values()):
            return [nn.Flatten()]
    elif hasattr(extractor, "cnn") and hasattr(extractor, "linear"):
        scale = policy.normalize_images and is_image_space(policy.observation_space)
        body = [module for part in (extractor.cnn, extractor.linear) for module in part.children()]  # type: ignore[union-attr]
        return [Divide(255.0), *body] if scale else body
    raise UserError(
        f"a policy whose features come from {type(extractor).__name__} cannot be compressed: expected vectors, or images "
        "through Stable-Baselines3's NatureCNN or lightning_pz.compression.residual_cnn.ResidualCNN"
    )
