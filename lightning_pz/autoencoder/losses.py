"""Losses, and the measure that is reported. Pure functions: tensors in, tensors out.

Behavior is compared by features, of which actions are those of a `tanh` head; see `lightning_pz.policy.heads`.

`LOSSES` names what `--model.loss` can be; each takes a `Reconstruction` and returns a scalar.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

_Actions = Float[Tensor, "policies states feature"]
_NONE = torch.empty(0)


class Reconstruction(NamedTuple):
    """A batch of policies, and what the decoder makes of them."""

    actions: _Actions  # Reconstructed features on the states of the batch, (N, M, F)
    target: _Actions  # The policies' own there
    variance: float  # Mean variance of a feature over policies, in the same unit squared
    params: Tensor = _NONE  # Decoded weights, (N, P)
    # The policies' own, (N, P); empty unless `--model.loss parameters` or the encoder asks for them
    target_params: Tensor = _NONE
    prior_std: Tensor = _NONE  # Standard deviation of each weight under the prior, (P,)
    # Reconstructed actions on states that each policy visited itself, (N, m, A); m is 0 unless the loss is
    # `behavior_visited`
    own_actions: Tensor = _NONE
    own_target: Tensor = _NONE  # The policies' own actions there


def behavior(given: Reconstruction) -> Float[Tensor, ""]:
    """Return the batch's FVU: the behavior reconstruction loss of Tenedini et al., arXiv 2509.22566, over the action variance."""
    return (given.actions - given.target).square().mean() / given.variance


def behavior_rms(given: Reconstruction) -> Float[Tensor, ""]:
    """Return the mean over policies of the RMS action difference, in standard deviations: the distance of novelty as a loss."""
    squared = (given.actions - given.target).square().flatten(1).mean(1)
    # The root's slope is infinite at 0.
    return (squared / given.variance + 1e-12).sqrt().mean()


def behavior_visited(given: Reconstruction) -> Float[Tensor, ""]:
    """Return `behavior` averaged with the same on states that each policy visited itself.

    The second half is an expectation under the policy's own occupancy, for these states are a random sample of it:
    small errors there are the ones that carry a reconstructed policy off its course.
    """
    own = (given.own_actions - given.own_target).square().mean() / given.variance
    return (behavior(given) + own) / 2


def parameters(given: Reconstruction) -> Float[Tensor, ""]:
    """Return the mean squared parameter difference in the prior's units: the ablation, blind to behavior."""
    free = given.prior_std > 0
    return ((given.params - given.target_params)[:, free] / given.prior_std[free]).square().mean()


Loss = Literal["behavior", "behavior_rms", "behavior_visited", "parameters"]
LOSSES: dict[str, Callable[[Reconstruction], Float[Tensor, ""]]] = {
    loss.__name__: loss for loss in (behavior, behavior_rms, behavior_visited, parameters)
}


def in_double(tensor: Tensor) -> Tensor:
    """Return a tensor in double precision, on the CPU where its device has none (Apple's `mps`)."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()


def squared_errors(actions: _Actions, target: _Actions) -> Float[Tensor, " policies"]:
    """Return each policy's squared action difference, summed over states and actions, in double precision."""
    return in_double(actions - target).square().flatten(1).sum(1)


def fvu(actions: _Actions, target: _Actions) -> float:
    """Return the fraction of action variance unexplained: 0 perfect, 1 no better than the mean policy.

    FVU = sum (a - a_hat)^2 / sum (a - mean over policies of a)^2, over policies, states and action coordinates;
    1 - R^2 with variance weighting. NaN when all policies act alike.
    """
    spread = (target.double() - target.double().mean(0)).square().sum()
    return float((actions - target).double().square().sum() / spread) if spread > 0 else float("nan")
