"""Symmetric quantization to 8 or 4 bits with a straight-through gradient.

A weight is `q * scale`, its level q a whole number within -L..L and `scale = max |w| / L` of the tensor, or of each output
channel: for convolutions, as in arXiv 2405.07748, and for all weights where that is asked for (`per_channel`). L is 127 of 8
bits, 7 of 4. Zero is a level, so pruned weights stay zero. Scales of 4 bits are bfloat16, as a row of few weights pays for
each byte of its own.

References:
    Straight-through gradient: Bengio, Leonard and Courville, 2013 (arXiv 1308.3432).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int8
from torch import Tensor, nn

TRIED_SCALES = 33
"""Scales that a calibration tries."""


def largest_level(bits: int) -> int:
    """Return L, the largest of the levels -L..L of so many bits."""
    return 2 ** (bits - 1) - 1


LEVELS = largest_level(8)
"""L of activations."""


def weight_scale(weight: Float[Tensor, "out ..."], bits: int = 8, *, per_channel: bool = False) -> Float[Tensor, " _"]:
    """Return the step between two levels: (1,) for a matrix, one per output channel for a convolution or if asked for."""
    size = weight.detach().abs()
    largest = size.flatten(1).amax(1) if per_channel or weight.ndim > 2 else size.amax().reshape(1)
    scale = largest / largest_level(bits)
    if bits == 4:
        scale = scale.bfloat16().float()
    # A tensor of zeros may have any scale; 1 keeps the division harmless.
    return torch.where(scale > 0, scale, 1.0)


def fake_levels(
    weight: Float[Tensor, "out ..."], bits: int = 8, *, per_channel: bool = False
) -> Float[Tensor, "out ..."]:
    """Return the weight rounded to the levels, as floats; the gradient passes through the rounding unchanged."""
    scale, most = weight_scale(weight, bits, per_channel=per_channel), largest_level(bits)
    zero = torch.zeros_like(scale, dtype=torch.int32)
    if per_channel or weight.ndim > 2:
        return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -most, most)
    return torch.fake_quantize_per_tensor_affine(weight, scale, zero, -most, most)


def to_levels(
    weight: Float[Tensor, "out ..."], bits: int = 8, *, per_channel: bool = False
) -> tuple[Int8[Tensor, "out ..."], Float[Tensor, " _"]]:
    """Return levels and scale; `from_levels` of them is `fake_levels` of the weight."""
    scale, most = weight_scale(weight, bits, per_channel=per_channel), largest_level(bits)
    levels = (weight * (1 / scale).view(-1, *[1] * (weight.ndim - 1))).round().clamp(-most, most)
    return levels.to(torch.int8), scale


def from_levels(levels: Int8[Tensor, "out ..."], scale: Float[Tensor, " _"]) -> Float[Tensor, "out ..."]:
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
        zero = torch.zeros(1, dtype=torch.int32, device=x.device)
        return torch.fake_quantize_per_tensor_affine(x, scale, zero, -LEVELS, LEVELS)

    @torch.no_grad()
    def calibrate(self, x: Float[Tensor, "..."]) -> None:
        """Choose the scale of the least squared error on x: cutting off a few large numbers may make all steps finer."""
        most = x.detach().abs().amax().clamp_min(1e-8)
        tried = most * torch.linspace(0.2, 1, TRIED_SCALES, device=x.device)
        zero = torch.zeros(1, dtype=torch.int32, device=x.device)
        errors = [
            (torch.fake_quantize_per_tensor_affine(x, (one / LEVELS).reshape(1), zero, -LEVELS, LEVELS) - x)
            .square()
            .sum()
            for one in tried
        ]
        self.largest.copy_(tried.gather(0, torch.stack(errors).argmin(0, keepdim=True)))


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
