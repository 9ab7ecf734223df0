"""A decoder moved so that it gives one policy as that policy behaves: a search that begins there loses nothing on the way.

A decoder gives back the policies of its pool with an error. A shift of the decoded weights, one vector for all latents, takes
the error away at one latent and keeps the decoder's directions around it. It is found by distillation: no environment step.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_pz.policy import Layout, act_shared

_STEPS, _BATCH, _LEARNING_RATE = 400, 256, 0.02
"""Of Adam; its rate falls to 0 in a straight line, in standard deviations of each weight under the prior."""


def anchor(
    layout: Layout,
    decoded: Float[Tensor, "policies params"],
    params: Float[Tensor, "policies params"],
    states: Float[Tensor, "states observation"],
    visited: Float[Tensor, "visited observation"],
    scale: Float[Tensor, " params"],
) -> Float[Tensor, "policies params"]:
    """Return the shift of each decoded policy that makes it act like the policy it was decoded from, (n, P).

    It minimizes the mean squared action difference, half of it on states that such policies visit, from a shift of 0. So
    it stays near the weights that the decoder gives. The difference of the two policies' weights would not do: many
    weights act alike, and the decoder's directions mean something around its own only.

    Args:
        layout: Shape of the policies.
        decoded: Weights that the decoder gives, (n, P).
        params: Weights of the policies that they are to act like, (n, P).
        states: Standardized states of the pool's sample, (S, O).
        visited: Standardized states that the policies visited, (V, O); none if nobody knows.
        scale: Standard deviation of each weight under the prior; a weight that the prior holds at zero stays there.
    """
    samples = [part for part in (states, visited) if len(part)]
    generator = torch.Generator().manual_seed(0)
    shift = torch.zeros_like(decoded, requires_grad=True)
    optimizer = torch.optim.Adam([shift], lr=_LEARNING_RATE)
    for step in range(_STEPS):
        optimizer.param_groups[0]["lr"] = _LEARNING_RATE * (1 - step / _STEPS)
        batch = torch.cat([part[_draw(len(part), len(samples), generator)] for part in samples])
        with torch.no_grad():
            target = act_shared(layout, params, batch)
        with torch.enable_grad():
            actions = act_shared(layout, decoded + shift * scale, batch)
            # The sum over policies keeps each on its own, whatever the others are.
            loss = (actions - target).square().mean((1, 2)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return shift.detach() * scale


def _draw(size: int, parts: int, generator: torch.Generator) -> Tensor:
    return torch.randint(size, (_BATCH // parts,), generator=generator)
