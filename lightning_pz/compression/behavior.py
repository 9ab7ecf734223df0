"""How far the behavior of a compressed policy is from that of the original, on given states."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


@torch.no_grad()
def outputs(
    network: nn.Sequential, observations: Float[Tensor, "states ..."], chunk: int = 4096
) -> Float[Tensor, "states output"]:
    """Return actions or scores on many raw observations, a chunk at a time."""
    return torch.cat([network(part) for part in observations.split(chunk)])


def output_fvu(
    got: Float[Tensor, "states output"], wanted: Float[Tensor, "states output"], *, scores: bool = False
) -> float:
    """Return the share of the wanted outputs' variance over states that is missed; 0 is the same behavior.

    `lightning_pz.autoencoder.losses.fvu` takes the variance over policies instead.

    Args:
        got: Actions or scores of the compressed policy.
        wanted: Those of the original.
        scores: Whether they are scores of actions: then what all actions of a state have in common does not count.
    """
    if scores:
        got, wanted = got - got.mean(1, keepdim=True), wanted - wanted.mean(1, keepdim=True)
    missed, spread = (got - wanted).double().square().sum(), (wanted - wanted.mean(0)).double().square().sum()
    return float(missed / spread.clamp_min(1e-12))


def compare_behavior(
    compressed: nn.Sequential, original: nn.Sequential, states: Tensor, *, discrete: bool
) -> dict[str, float]:
    """Return `fvu` of the compressed policy's outputs on raw states, and for discrete actions `agreement`."""
    got, wanted = outputs(compressed, states.float()), outputs(original, states.float())
    values = {"fvu": output_fvu(got, wanted, scores=discrete)}
    if discrete:
        values["agreement"] = float((got.argmax(1) == wanted.argmax(1)).float().mean())
    return values
