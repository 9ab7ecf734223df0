"""Symmetric int8 quantization with a straight-through gradient.

A weight is `q * scale`, q a whole number within -127..127 and `scale = max |w| / 127` of the tensor, or of each output
channel: for convolutions, as in arXiv 2405.07748, and for all weights where that is asked for (`per_channel`). Zero is a whole number, so pruned weights stay zero.

References:
    Straight-through gradient: Bengio, Leonard and Courville, 2013 (arXiv 1308.3432).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int8
from torch import Tensor, nn

LEVELS = 127
_TRIED = 33


def weight_scale(weight: Float[Tensor, "out ..."], *, per_channel: bool = False) -> Float[Tensor, " _"]:
    """Return the step between two levels: (1,) for a matrix, one per output channel for a convolution or if asked for."""
    size = weight.detach().abs()
    largest = size.flatten(1).amax(1) if per_channel or weight.ndim > 2 else size.amax().reshape(1)
    # A tensor of zeros may have any scale; 1 keeps the division harmless.
    return torch.where(largest > 0, largest / LEVELS, 1.0)


def fake_int8(weight: Float[Tensor, "out ..."], *, per_channel: bool = False) -> Float[Tensor, "out ..."]:
    """Return the weight rounded to the levels, as floats; the gradient passes through the rounding unchanged."""
    scale = weight_scale(weight, per_channel=per_channel)
    zero = torch.zeros_like(scale, dtype=torch.int32)
    if per_channel or weight.ndim > 2:
        return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -LEVELS, LEVELS)
    return torch.fake_quantize_per_tensor_affine(weight, scale, zero, -LEVELS, LEVELS)


def to_int8(
    weight: Float[Tensor, "out ..."], *, per_channel: bool = False
) -> tuple[Int8[Tensor, "out ..."], Float[Tensor, " _"]]:
    """Return levels and scale; `from_int8` of them is `fake_int8` of the weight."""
    scale = weight_scale(weight, per_channel=per_channel)
    levels = (weight * (1 / scale).view(-1, *[1] * (weight.ndim - 1))).round().clamp(-LEVELS, LEVELS)
    return levels.to(torch.int8), scale


def from_int8(levels: Int8[Tensor, "out ..."], scale: Float[Tensor, " _"]) -> Float[Tensor, "out ..."]:
    """Return the weight of levels and scale."""
    return levels.float() * scale.view(-1, *[1] * (levels.ndim - 1))


class ActivationInt8(nn.Module):
    """Rounds its input to int8 levels of a calibrated scale, once it is switched on; levels go from -`largest` to `largest`."""

    largest: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.on = False
        self.register_buffer("largest", torch.zeros(1))

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return x rounded; values beyond the scale are cut off and get no gradient."""
        if not self.on:
            return x
        scale = torch.where(self.largest > 0, self.largest / LEVELS, 1.0)
        zero = torch.zeros(1, dtype=torch.int32)
        return torch.fake_quantize_per_tensor_affine(x, scale, zero, -LEVELS, LEVELS)

    @torch.no_grad()
    def calibrate(self, x: Float[Tensor, "..."]) -> None:
        """Choose the scale of the least squared error on x: cutting off a few large numbers may make all steps finer."""
        most = x.detach().abs().amax().clamp_min(1e-8)
        tried = most * torch.linspace(0.2, 1, _TRIED)
        zero = torch.zeros(1, dtype=torch.int32)
        errors = [
            (torch.fake_quantize_per_tensor_affine(x, (one / LEVELS).reshape(1), zero, -LEVELS, LEVELS) - x)
            .square()
            .sum()
            for one in tried
        ]
        self.largest.fill_(tried[int(torch.stack(errors).argmin())])


@torch.no_grad()
def calibrate_activations(network: nn.Module, states: Float[Tensor, "states ..."]) -> None:
    """Let every rounding of activations choose its scale on a network's own activations in these states."""
    hooks = [
        module.register_forward_pre_hook(lambda module, given: module.calibrate(given[0]))
        for module in network.modules()
        if isinstance(module, ActivationInt8)
    ]
    network(states)
    for hook in hooks:
        hook.remove()
