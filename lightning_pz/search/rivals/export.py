"""A learner of Stable-Baselines3 as a policy of its own: normalization and batch statistics become its weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightning_pz.policy import Head, Layout, PolicyNetwork
from lightning_pz.policy.layout import ACTIVATION_MODULES
from lightning_pz.policy.saved import SavedPolicy

_ACTIVATIONS = {module: name for name, module in ACTIVATION_MODULES.items() if name != "linear"}


def to_policy(model: Any, network: PolicyNetwork, normal: Any = None) -> SavedPolicy:
    """Return the policy by which a learner acts without noise, in the action box of `network`, on raw observations.

    PPO's logits are those of a `categorical` head. DQN's values of the actions stand for logits: the most likely choice is the
    best one, but their softmax is nothing that DQN acts by. `normal` is the model's `VecNormalize` where it has none with it.

    Raises `TypeError` for a module that no policy here has.
    """
    policy, kind, choices = model.policy, type(model).__name__, network.layout.head.choices
    if kind == "DQN":
        parts = [policy.q_net.q_net]
    elif kind == "PPO":
        parts = [policy.mlp_extractor.policy_net, policy.action_net]
    else:
        parts = [part for name in ("latent_pi", "mu") if (part := getattr(policy.actor, name, None)) is not None]
    modules = [module for part in parts for module in part.modules() if not isinstance(module, nn.Sequential)]
    layers, activation, limit = _layers(modules)
    sizes = [layers[0][0].shape[1], *(weight.shape[0] for weight, _ in layers)]
    mean, std, clip = _statistics(normal or model.get_vec_normalize_env(), sizes[0])
    head = Head("categorical", choices) if choices else Head()
    return SavedPolicy(
        layout=Layout(sizes[0], tuple(sizes[1:-1]), network.layout.action_size, activation, head),
        params=torch.cat([part.flatten() for layer in layers for part in layer]).float(),
        observation_mean=mean,
        observation_std=std,
        action_low=network.action_low.cpu(),
        action_high=network.action_high.cpu(),
        squash="clip" if kind == "PPO" and not choices and not policy.squash_output else "tanh",
        observation_clip=clip,
        limit=limit,
    )


@torch.no_grad()
def _layers(modules: list[nn.Module]) -> tuple[list[tuple[Tensor, Tensor]], str, float]:
    """Return weight and bias of each layer, the hidden activation, and the bound of the last layer's output.

    A normalization by fixed statistics, x * a + c, goes into the layer behind it: W (x * a + c) + b.
    """
    layers: list[tuple[Tensor, Tensor]] = []
    activation, limit, scale, shift = "linear", float("inf"), None, None
    last = max(number for number, module in enumerate(modules) if isinstance(module, nn.Linear))
    for number, module in enumerate(modules):
        if isinstance(module, nn.Linear):
            weight, bias = module.weight.double(), module.bias.double()
            if scale is not None and shift is not None:
                weight, bias = weight * scale, bias + weight @ shift
            layers.append((weight, bias))
            scale = shift = None
        elif isinstance(module, nn.Hardtanh):
            limit = float(module.max_val)
        elif type(module).__name__ == "BatchRenorm1d":
            parts: Any = module
            scale = parts.scale.double() / (parts.ra_var.double() + parts.eps).sqrt()
            shift = parts.bias.double() - parts.ra_mean.double() * scale
        elif type(module) in _ACTIVATIONS:
            # Behind the last layer it is the squashing.
            activation = activation if number > last else _ACTIVATIONS[type(module)]
        elif not isinstance(module, nn.Flatten):
            raise TypeError(f"a policy with a {type(module).__name__} cannot be saved")
    return layers, activation, limit


def _statistics(normal: Any, size: int) -> tuple[Tensor, Tensor, float]:
    """Return mean, standard deviation and bound of the normalized observation."""
    if normal is None or not normal.norm_obs:
        return torch.zeros(size), torch.ones(size), float("inf")
    std = np.sqrt(normal.obs_rms.var + normal.epsilon)
    return torch.from_numpy(normal.obs_rms.mean).float(), torch.from_numpy(std).float(), float(normal.clip_obs)
