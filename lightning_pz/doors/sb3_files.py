"""Policies out of Stable-Baselines3's zip files and into them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces

from lightning_pz.common.errors import UserError
from lightning_pz.compression.normalization import load_statistics, warn_of_statistics, was_normalized
from lightning_pz.compression.training.sb3_models import algorithm_class, open_to_act
from lightning_pz.policy import Head, Layout, PolicyNetwork
from lightning_pz.policy.layout import ACTIVATION_MODULES
from lightning_pz.policy.saved import SavedPolicy
from lightning_pz.search.rivals.export import to_policy

_TRIALS, _CLOSE = 64, 1e-4


def read_sb3(path: str | Path, normalization: str | Path | None = None) -> SavedPolicy:
    """Return the policy of a model's zip by which it acts without noise; statistics of a `VecNormalize` become part of it.

    Raises:
        UserError: Another kind of file, a policy of images or dictionaries, or one that acts otherwise than its layers say.
    """
    model = open_to_act(path)
    normal = None if normalization is None else load_statistics(normalization)
    if normal is None and was_normalized(model):
        raise UserError(
            f"{path} was trained under VecNormalize: give its statistics with --normalization FILE, which VecNormalize.save wrote"
        )
    if normal is None:
        warn_of_statistics(model, path)
    network = _box_of(model, path)
    if normal is not None and normal.norm_obs and isinstance(normal.obs_rms, dict):
        raise UserError(
            f"--normalization {normalization} is of observations that are dictionaries, but {path} takes vectors"
        )
    if normal is not None and normal.norm_obs and normal.obs_rms.mean.shape != (network.layout.observation_size,):
        raise UserError(
            f"--normalization {normalization} has statistics of {normal.obs_rms.mean.shape} numbers, but observations have "
            f"{network.layout.observation_size}: give the file that was saved with this policy"
        )
    try:
        policy = to_policy(model, network, normal)
    except TypeError as error:
        raise UserError(f"{path}: {error}") from error
    if policy.layout.observation_size != network.layout.observation_size:
        raise UserError(
            f"{path} has a features extractor in front of its layers, which no policy file holds: expected observations that go "
            "into the first layer as they are"
        )
    for what, numbers in (
        ("weights", policy.params),
        ("statistics", torch.stack([policy.observation_mean, policy.observation_std])),
    ):
        if not torch.isfinite(numbers).all():
            raise UserError(
                f"{path} has {what} that are no finite numbers: the training diverged, or the file is damaged"
            )
    _check_same(policy, model, normal, path)
    return policy


def to_sb3(policy: SavedPolicy, env: gymnasium.Env, path: Path) -> str:
    """Write a policy as a model that `load` of Stable-Baselines3 opens, and return the name of its algorithm.

    Actions in a box are a `TD3`'s, or a `PPO`'s where they are cut off at the box; choices are a `PPO`'s, with their
    probabilities. A Gaussian gives its mean. Standardization goes into the first layer, a temperature into the last. The
    other networks of the model are untrained.

    Raises:
        UserError: Another environment's policy, or one with bounds that no network of Stable-Baselines3 has.
    """
    _check_fits(policy, env, path)
    layout, layers = (
        policy.layout,
        [(weight[0].double(), bias[0].double()) for weight, bias in policy.layout.unpack(policy.params[None])],
    )
    weight, bias = layers[0]
    scaled = weight / policy.observation_std.double()
    layers[0] = scaled, bias - scaled @ policy.observation_mean.double()
    weight, bias = layers[-1]
    if layout.head.choices:
        layers[-1] = weight / layout.head.temperature, bias / layout.head.temperature
        if isinstance(env.action_space, spaces.MultiBinary):  # there a number's logit is that of 1 against 0
            weight, bias = layers[-1]
            layers[-1] = weight[1::2] - weight[::2], bias[1::2] - bias[::2]
    elif layout.head.kind == "gaussian":
        layers[-1] = weight[: layout.action_size], bias[: layout.action_size]
    name = "PPO" if layout.head.choices or policy.squash == "clip" else "TD3"
    other = {"vf": [1]} if name == "PPO" else {"qf": [1]}
    arguments: dict[str, Any] = {
        "policy_kwargs": {
            "net_arch": {"pi": list(layout.hidden), **other},
            "activation_fn": ACTIVATION_MODULES[layout.activation],
        },
        "device": "cpu",
    }
    model = algorithm_class(name)("MlpPolicy", env, **arguments, **({} if name == "PPO" else {"buffer_size": 1}))
    actors = (
        [model.actor, model.actor_target]
        if name == "TD3"
        else [model.policy.mlp_extractor.policy_net, model.policy.action_net]
    )
    for parts in [[actor.mu] for actor in actors] if name == "TD3" else [actors]:
        linear = [one for part in parts for one in part.modules() if isinstance(one, torch.nn.Linear)]
        with torch.no_grad():
            for module, (weight, bias) in zip(linear, layers, strict=True):
                module.weight.copy_(weight)
                module.bias.copy_(bias)
    _check_same(policy, model, None, path)
    model.save(path)
    return name


def _box_of(model: Any, path: str | Path) -> PolicyNetwork:
    """Return what a policy needs to know of a model's spaces."""
    seen, acts = model.observation_space, model.action_space
    if not (isinstance(seen, spaces.Box) and len(seen.shape) == 1):
        raise UserError(f"{path} takes {seen}, but a policy file holds networks on vectors of observations")
    head, low, high = Head(), np.empty(0), np.empty(0)
    if isinstance(acts, spaces.Discrete):
        head, low, high = Head("categorical", (int(acts.n),)), np.zeros(1), np.array([acts.n - 1])
    elif isinstance(acts, spaces.MultiDiscrete) and acts.nvec.ndim == 1:
        head, low, high = Head("categorical", tuple(map(int, acts.nvec))), np.zeros(len(acts.nvec)), acts.nvec - 1
    elif isinstance(acts, spaces.Box) and len(acts.shape) == 1:
        low, high = acts.low, acts.high
        if not (low < high).all():
            raise UserError(
                f"{path} acts from {low.tolist()} to {high.tolist()}, but a policy file holds boxes of some width"
            )
    else:
        raise UserError(
            f"{path} gives {acts}, but a policy file holds actions of a flat Box, Discrete or MultiDiscrete"
        )
    size = seen.shape[0]
    corners = [torch.as_tensor(corner, dtype=torch.float32) for corner in (low, high)]
    return PolicyNetwork(Layout(size, (1,), len(low), head=head), torch.zeros(size), torch.ones(size), *corners)


def _check_fits(policy: SavedPolicy, env: gymnasium.Env, path: Path) -> None:
    if policy.layout.head.choices and policy.action_low.any():
        raise UserError(
            f"--to {path}: choices of Stable-Baselines3 count from 0, but this policy's begin at {policy.action_low.tolist()}"
        )
    if np.isfinite(policy.observation_clip) or np.isfinite(policy.limit):
        raise UserError(
            f"--to {path}: this policy bounds its standardized observations or its last layer, which no network of "
            "Stable-Baselines3 does by itself: export the zip that it came from, with its VecNormalize"
        )
    seen, acts, layout = env.observation_space, env.action_space, policy.layout
    wanted: tuple[Any, Any] = (layout.observation_size,), layout.head.choices
    found: tuple[Any, Any]
    if isinstance(acts, spaces.Box):
        same = np.array_equal(
            [acts.low, acts.high], np.array([policy.action_low, policy.action_high], dtype=acts.dtype)
        )
        found = seen.shape, ()
    else:
        counts: Any = getattr(acts, "nvec", [])
        if isinstance(acts, spaces.Discrete | spaces.MultiBinary):
            counts = [acts.n] if isinstance(acts, spaces.Discrete) else [2] * len(policy.action_low)
        same, found = True, (seen.shape, tuple(map(int, counts)))
    if not same or found != wanted:
        raise UserError(
            f"--env takes {seen} and {acts}, but this policy takes {layout.observation_size} observations and acts from "
            f"{policy.action_low.tolist()} to {policy.action_high.tolist()}: give the environment that it was made for"
        )


@torch.no_grad()
def _check_same(policy: SavedPolicy, model: Any, normal: Any, path: str | Path) -> None:
    """Raise `UserError` unless a policy acts as a model does, on drawn observations."""
    draws = np.random.default_rng(0).normal(size=(_TRIALS, policy.layout.observation_size))
    raw = (draws * policy.observation_std.numpy() + policy.observation_mean.numpy()).astype(np.float32)
    wanted = model.predict(raw if normal is None else normal.normalize_obs(raw), deterministic=True)[0]
    got = policy.act(torch.from_numpy(raw)).numpy().reshape(wanted.shape)
    if policy.layout.head.choices:  # scores that are equal to the last digits may be ordered either way
        same = (got != wanted).mean() < 0.05
    else:
        half = (policy.action_high - policy.action_low).numpy() / 2
        same = bool((np.abs(got - wanted) <= _CLOSE * np.maximum(half, 1)).all())
    if not same:
        raise UserError(
            f"{path}: the two act differently: the model has a part that is not known here, or means that are so large beside "
            "their standard deviations that float32 does not hold the product"
        )
