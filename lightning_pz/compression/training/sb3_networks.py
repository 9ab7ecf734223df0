"""Models of Stable-Baselines3: its zip files, and their networks as plain `nn.Sequential`s."""

from __future__ import annotations

import importlib
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from gymnasium import spaces
from torch import nn

from lightning_pz.common.errors import UserError
from lightning_pz.compression.modules import Divide, ToBox
from lightning_pz.compression.settings import SB3_ALGORITHMS


def algorithm_class(name: str) -> Any:
    """Return the class of an algorithm: `SAC` for `sac`."""
    return getattr(importlib.import_module("stable_baselines3"), name.upper())


def algorithm_of(path: str | Path) -> str:
    """Return which of `SB3_ALGORITHMS` a zip file holds, without loading it; raise `UserError` if it holds none."""
    try:
        with zipfile.ZipFile(path) as file:
            module = json.loads(file.read("data"))["policy_class"]["__module__"]
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} is no model of Stable-Baselines3 ({type(error).__name__}: {error}): give a zip that its save wrote"
        ) from error
    found = re.fullmatch(r"stable_baselines3\.(\w+)\.policies", module)
    # PPO's policies are those of A2C's module.
    name = {"common": "ppo"}.get(found.group(1), found.group(1)) if found else module
    if name not in SB3_ALGORITHMS:
        raise UserError(f"{path} holds a policy of {module}, but expected one of {', '.join(SB3_ALGORITHMS)}")
    return name


def load_model(path: str | Path, algorithm: str, **more: Any) -> Any:
    """Return a model by the stock loader, on the CPU; raise `UserError` if it does not load."""
    try:
        return algorithm_class(algorithm).load(path, device="cpu", **more)
    except Exception as error:
        raise UserError(f"{path} cannot be opened as {algorithm} ({type(error).__name__}: {error})") from error


def open_to_act(path: str | Path) -> Any:
    """Return a model that is to act and not to learn; `UserError` for another kind of file."""
    algorithm = algorithm_of(path)
    # Without a replay buffer, which may take gigabytes, or need an environment.
    buffer: dict[str, Any] = {"buffer_size": 1, "replay_buffer_class": None, "replay_buffer_kwargs": {}}
    return load_model(path, algorithm, custom_objects={} if algorithm == "ppo" else buffer)


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
    elif kind in ("sac", "td3"):
        actor = policy.actor
        # TD3's last module is a tanh, which `ToBox` has too.
        extractor, head = actor.features_extractor, [*actor.latent_pi, actor.mu] if kind == "sac" else actor.mu[:-1]
    else:
        raise UserError(f"--policy reads models of {', '.join(SB3_ALGORITHMS)}, but this one is {type(model).__name__}")
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
