"""One batched forward of many policies."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float, Real
from torch import Tensor, nn

from lightning_pz.policy.layout import ACTIVATIONS, Layout

STATISTICS = ("observation_mean", "observation_std", "action_low", "action_high")
"""Names of the vectors that policies of a network share."""
_CACHE_FLOATS = 1 << 18
"""Activations of one layer that a chunk of policies may hold: 1 MiB, so that it stays in a core's cache."""


def outputs_each(
    layout: Layout, params: Float[Tensor, "policies params"], observations: Float[Tensor, "policies states observation"]
) -> Float[Tensor, "policies states feature"]:
    """Return each policy's last layer, before its head, on standardized states of its own."""
    activation, x = ACTIVATIONS[layout.activation], observations
    *hidden, (last, last_bias) = layout.unpack(params)
    for weight, bias in hidden:
        x = activation(torch.baddbmm(bias[:, None, :], x, weight.mT))
    return torch.baddbmm(last_bias[:, None, :], x, last.mT)


def act_each(
    layout: Layout, params: Float[Tensor, "policies params"], observations: Float[Tensor, "policies states observation"]
) -> Float[Tensor, "policies states feature"]:
    """Return each policy's behavior features on standardized states of its own; see `lightning_pz.policy.heads`."""
    return layout.head.features(outputs_each(layout, params, observations))


def act_shared(
    layout: Layout, params: Float[Tensor, "policies params"], observations: Float[Tensor, "states observation"]
) -> Float[Tensor, "policies states feature"]:
    """Return every policy's behavior features on the same M standardized states; see `lightning_pz.policy.heads`."""
    return act_each(layout, params, observations.expand(len(params), -1, -1))


def policy_chunk(layout: Layout, states: int) -> int:
    """Return how many policies to act with at a time, so that activations on this many states stay in cache."""
    return max(1, _CACHE_FLOATS // (states * max(layout.sizes)))


class PolicyNetwork(nn.Module):
    """The common part of all policies of one layout: standardization, network shape, action box. Holds no weights.

    Mean and standard deviation of observations, (O,), are in the environment's units; the box's corners are (A,), where
    actions are chosen the smallest and largest number of each factor.

    Raises:
        ValueError: A statistic of the wrong length, not finite, or a standard deviation that is not positive.
    """

    observation_mean: Tensor
    observation_std: Tensor
    action_low: Tensor
    action_high: Tensor

    def __init__(
        self, layout: Layout, observation_mean: Tensor, observation_std: Tensor, action_low: Tensor, action_high: Tensor
    ) -> None:
        super().__init__()
        self.layout = layout
        values = (observation_mean, observation_std, action_low, action_high)
        for name, value in zip(STATISTICS, values, strict=True):
            size = layout.action_size if name.startswith("action") else layout.observation_size
            if value.shape != (size,) or not torch.isfinite(value).all():
                raise ValueError(f"{name} must be {size} finite numbers, but got shape {tuple(value.shape)}")
            self.register_buffer(name, value.detach().clone().float())
        if (self.observation_std <= 0).any():
            raise ValueError("observation_std must be positive in every coordinate")

    def standardize(self, observations: Float[Tensor, "*states observation"]) -> Float[Tensor, "*states observation"]:
        """Return observations less the fixed mean, over the fixed standard deviation."""
        return (observations - self.observation_mean) / self.observation_std

    def scale(self, actions: Float[Tensor, "*states action"]) -> Float[Tensor, "*states action"]:
        """Map actions from -1..1 to the environment's action box."""
        return self.action_low + (actions + 1) * 0.5 * (self.action_high - self.action_low)

    def forward(
        self, params: Float[Tensor, "policies params"], observations: Float[Tensor, "policies states observation"]
    ) -> Real[Tensor, "policies states action"]:
        """Return the actions, without noise, that N policies take on M raw observations each, inside the action box."""
        return self.actions(outputs_each(self.layout, params, self.standardize(observations)))

    def actions(self, outputs: Float[Tensor, "*states feature"]) -> Real[Tensor, "*states action"]:
        """Return the actions, without noise, of a last layer's numbers, (..., A), inside the action box; int64 if chosen."""
        chosen = self.layout.head.choose(outputs)
        return chosen + self.action_low.long() if self.layout.head.choices else self.scale(chosen)


def acting(network: PolicyNetwork, sample: bool | None) -> PolicyNetwork:
    """Return a network whose policies draw their actions, or do not; the same one if that is left open.

    Raises `UserError` if they are to be drawn from a `tanh` head.
    """
    layout = network.layout
    if sample is None or sample == layout.head.sample:
        return network
    changed = replace(layout, head=replace(layout.head, sample=sample))
    return PolicyNetwork(changed, *(getattr(network, name) for name in STATISTICS))


def restandardize(
    params: Float[Tensor, "policies params"], source: PolicyNetwork, target: PolicyNetwork
) -> Float[Tensor, "policies params"]:
    """Return the weights with which `target` acts as `source` does with the given ones.

    The two may differ in the statistics of the observations alone, which are an affine map under the first layer:
    W (s - m) / d + b = W' (s - m') / d' + b' with W' = W d' / d and b' = b + W (m' - m) / d. Raises `ValueError` where
    layouts or action boxes differ, which no weights make up for.
    """
    boxes = zip((source.action_low, source.action_high), (target.action_low, target.action_high), strict=True)
    if source.layout != target.layout or not all(torch.equal(a, b) for a, b in boxes):
        raise ValueError("policies of another layout or action box cannot be restandardized")
    (weight, bias), *rest = source.layout.unpack(params)
    std = source.observation_std.double()
    shift = (target.observation_mean.double() - source.observation_mean) / std
    first = (weight.double() * (target.observation_std / std), bias.double() + weight.double() @ shift)
    return source.layout.pack([(first[0].to(params), first[1].to(params)), *rest])
