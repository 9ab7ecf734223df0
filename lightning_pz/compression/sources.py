"""Policies that come from files, brought into one shape."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from lightning_pz.compression.network import from_saved
from lightning_pz.compression.stable import algorithm_of, load_policy_of, network_of
from lightning_pz.compression.stack import check_finite, layers_of
from lightning_pz.compression.worlds import World
from lightning_pz.errors import UserError
from lightning_pz.policy.saved import load_policy


def open_policy(path: str) -> nn.Sequential:
    """Return the network in a `policy.npz` or a Stable-Baselines3 zip.

    Raises:
        UserError: Another kind of file, or a damaged one.
    """
    if Path(path).suffix == ".npz":
        return from_saved(load_policy(path))
    return network_of(load_policy_of(path, algorithm_of(path)))


def check_fits(network: nn.Sequential, world: World, path: str) -> None:
    """Raise `UserError` unless a network sees what the environment shows and gives what it takes."""
    check_finite(network)
    layers = list(layers_of(network).values())
    first, last = layers[0], layers[-1]
    seen = first.in_channels if isinstance(first, nn.Conv2d) else first.in_features
    gives = last.out_channels if isinstance(last, nn.Conv2d) else last.out_features
    shown = world.shape[0]
    if (seen, gives) != (shown, world.actions):
        raise UserError(
            f"{path} takes {seen} observations and gives {gives} actions, but {world.id} has {shown} and "
            f"{world.actions}: it was made for another environment, so give the right --env"
        )
