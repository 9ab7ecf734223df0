"""Policies from files, as networks of one kind: raw observation in, action or scores out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import nn

from lightning_pz.autoencoder.load import load_autoencoder
from lightning_pz.common.errors import UserError
from lightning_pz.common.identity import first_difference
from lightning_pz.compression.environments import World
from lightning_pz.compression.measures import outputs
from lightning_pz.compression.methods.stack import check_finite, layers_of
from lightning_pz.compression.modules import ToBox, copy_of, from_plan
from lightning_pz.compression.normalization import warn_of_statistics, with_statistics
from lightning_pz.compression.training.sb3_models import open_to_act
from lightning_pz.compression.training.sb3_networks import network_of
from lightning_pz.policy.saved import SavedPolicy, load_policy

_TRIALS = 16
_LARGEST = 100.0


def open_policy(
    path: str, world: World, normalization: str | None = None, latent: Sequence[float] | None = None
) -> nn.Sequential:
    """Return the network in a `policy.npz`, a Stable-Baselines3 zip, or a checkpoint and a latent; it fits the environment.

    Without the statistics of its `VecNormalize`, a zip that had some gives a warning on stderr.

    Raises:
        UserError: Another kind of file, a damaged one, a policy that its layers do not describe, or one that is made for
            another environment.
    """
    match Path(path).suffix:
        case ".npz":
            network = from_plan(*load_policy(path).plan())
        case ".ckpt":
            network = _decoded(path, latent or [], world)
        case _:
            network = _from_zip(path, world, normalization)
    check_fits_world(network, world, path)
    return copy_of(network)


def check_fits_world(network: nn.Sequential, world: World, path: str) -> None:
    """Raise `UserError` unless a network takes the environment's observations and gives its actions, in the same box."""
    check_finite(network)
    layers = list(layers_of(network).values())
    first, gives = layers[0], layers[-1].weight.shape[0]
    seen = first.in_channels if isinstance(first, nn.Conv2d) else first.in_features
    shown = world.shape[0] if isinstance(first, nn.Conv2d) else int(np.prod(world.shape))
    other = "it was made for another environment, so give the right --env"
    if (seen, gives) != (shown, world.actions):
        raise UserError(
            f"{path} takes {seen} observations and gives {gives} actions, but {world.id} has {shown} and "
            f"{world.actions}: {other}"
        )
    if isinstance(box := network[-1], ToBox) == world.discrete:
        made, has = ("discrete actions", "a box of actions")[:: -1 if world.discrete else 1]
        raise UserError(f"{path} was made for {made}, but {world.id} has {has}: {other}")
    if isinstance(box, ToBox):
        own = tuple(box.low.tolist()), tuple(box.high.tolist())
        # Policies keep float32; a box of float64 has more digits.
        if not np.array_equal(own, np.array([world.action_low, world.action_high], dtype=np.float32)):
            raise UserError(
                f"{path} was made for actions from {list(own[0])} to {list(own[1])}, but {world.id} takes them from "
                f"{list(world.action_low)} to {list(world.action_high)}: {other}, or train it anew"
            )
    try:
        outputs(network, torch.zeros(1, *world.shape))
    except RuntimeError as error:
        raise UserError(f"{path} cannot take observations of shape {world.shape} in {world.id}: {error}") from error


def _decoded(path: str, latent: Sequence[float], world: World) -> nn.Sequential:
    model = load_autoencoder(path)
    if model.env["id"] != world.id:
        raise UserError(f"{path} was made for {model.env['id']}, but --env is {world.id}: give the right --env")
    # Of earlier versions it is not known.
    made, now = (json.loads(text or "[{}]")[0] for text in (model.env.get("kwargs"), world.content["kwargs"]))
    if "kwargs" in model.env and (told := first_difference(now, made)) is not None:
        raise UserError(
            f"{path} was made for other arguments of {world.id} ({told}): give the same --env.kwargs, or fit again"
        )
    if len(latent) != (size := model.hparams["latent_dim"]):
        raise UserError(f"--latent expects {size} numbers for {path}, but got {len(latent)}")
    with torch.no_grad():
        params = model.decoder(torch.tensor([latent], dtype=torch.float32))[0]
    return from_plan(*SavedPolicy.of(model.policy, params).plan())


def _from_zip(path: str, world: World, normalization: str | None) -> nn.Sequential:
    model = open_to_act(path)
    network = network_of(model)
    check_finite(network)
    _check_same(network, model, path)
    if normalization is not None:
        if world.is_image:
            raise UserError(f"--normalization expects observations that are vectors, but {world.id} has images")
        return with_statistics(network, normalization, world.shape[0])
    warn_of_statistics(model, path)
    return network


@torch.no_grad()
def _check_same(network: nn.Sequential, model: Any, path: str) -> None:
    """Raise `UserError` unless a network acts as the model it was read from, on observations drawn from its space."""
    space = model.observation_space
    space.seed(0)
    drawn = [space.sample() for _ in range(_TRIALS)]
    if isinstance(space, spaces.Dict):
        given: Any = {key: np.stack([one[key] for one in drawn]) for key in space.spaces}
        joined = np.concatenate([part.reshape(_TRIALS, -1) for part in given.values()], axis=1)
    else:
        given = joined = np.stack(drawn)
    # The corners of some boxes are the largest numbers there are.
    if isinstance(space, spaces.Box) and space.dtype.kind == "f":
        given = joined = np.clip(joined, -_LARGEST, _LARGEST)
    wanted = model.predict(given, deterministic=True)[0]
    got = network(torch.from_numpy(joined).float()).numpy()
    # Scores that are equal to the last digits may be ordered either way.
    same = (
        (got.max(1) - got[np.arange(_TRIALS), wanted] <= 1e-4 * np.abs(got).max()).all()
        if isinstance(model.action_space, spaces.Discrete)
        else np.allclose(got, wanted, rtol=1e-3, atol=1e-3)
    )
    if not same:
        raise UserError(
            f"{path} acts otherwise than the layers that could be read from it: its policy has a part that is not known "
            "here, so it cannot be compressed"
        )
