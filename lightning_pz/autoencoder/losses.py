"""Losses and the measure that is reported. Pure functions: tensors in, tensors out."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

Actions = Float[Tensor, "policies states action"]
Params = Float[Tensor, "policies params"]


def behavior(actions: Actions, target: Actions, variance: float) -> Float[Tensor, ""]:
    """Return the mean squared action difference over the action variance, which makes it the batch's FVU.

    Args:
        actions: Reconstructed actions, (N, M, A), in -1..1.
        target: The policies' own actions.
        variance: Mean variance of an action over policies, in the same unit squared.

    References:
        Tenedini et al., arXiv 2509.22566, behavior reconstruction loss.
    """
    return (actions - target).square().mean() / variance


def behavior_rms(actions: Actions, target: Actions, variance: float) -> Float[Tensor, ""]:
    """Return the mean over policies of the root mean squared action difference, in standard deviations.

    The paper's distance has the root; it weighs badly reconstructed policies less.
    """
    squared = (actions - target).square().flatten(1).mean(1)
    # The root's slope is infinite at 0.
    return (squared / variance + 1e-12).sqrt().mean()


def behavior_visited(
    actions: Actions,
    target: Actions,
    own_actions: Float[Tensor, "policies visited action"],
    own_target: Float[Tensor, "policies visited action"],
    variance: float,
) -> Float[Tensor, ""]:
    """Return `behavior` averaged with the same on states that each policy visited itself.

    The second half is an expectation under the policy's own occupancy, for these states are a random sample of it:
    small errors there are the ones that carry a reconstructed policy off its course.

    Args:
        actions: Reconstructed actions on shared states, (N, M, A), in -1..1.
        target: The policies' own actions there.
        own_actions: Reconstructed actions on states of each policy's own, (N, m, A).
        own_target: The policies' own actions there.
        variance: As for `behavior`.
    """
    own = (own_actions - own_target).square().mean() / variance
    return (behavior(actions, target, variance) + own) / 2


def parameters(params: Params, target: Params, prior_std: Float[Tensor, " params"]) -> Float[Tensor, ""]:
    """Return the mean squared parameter difference in the prior's units: the ablation, blind to behavior."""
    free = prior_std > 0
    return ((params - target)[:, free] / prior_std[free]).square().mean()


BEHAVIOR_LOSSES: dict[str, Callable[[Actions, Actions, float], Float[Tensor, ""]]] = {
    "behavior": behavior,
    "behavior_rms": behavior_rms,
}
LOSSES = (*BEHAVIOR_LOSSES, "behavior_visited", "parameters")


def squared_error(actions: Actions, target: Actions) -> Float[Tensor, ""]:
    """Return the summed squared action difference in double precision."""
    return (actions - target).double().square().sum()


def squared_errors(actions: Actions, target: Actions) -> Float[Tensor, " policies"]:
    """Return each policy's squared action difference, summed over states and actions, in double precision."""
    return (actions - target).double().square().flatten(1).sum(1)


def squared_spread(target: Actions) -> Float[Tensor, ""]:
    """Return the summed squared deviation from the mean policy in double precision, the denominator of FVU."""
    target = target.double()
    return (target - target.mean(0)).square().sum()


def fvu(actions: Actions, target: Actions) -> float:
    """Return the fraction of action variance unexplained: 0 perfect, 1 no better than the mean policy.

    FVU = sum (a - a_hat)^2 / sum (a - mean over policies of a)^2, over policies, states and action coordinates;
    1 - R^2 with variance weighting. NaN when all policies act alike.
    """
    spread = squared_spread(target)
    return float(squared_error(actions, target) / spread) if spread > 0 else float("nan")
