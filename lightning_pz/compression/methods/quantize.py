"""Symmetric int8 quantization with a straight-through gradient.

A weight is `q * scale`, q a whole number within -127..127 and `scale = max |w| / 127` of the tensor, or of each output
channel for convolutions, as in arXiv 2405.07748. Zero is a whole number, so pruned weights stay zero.

References:
    Straight-through gradient: Bengio, Leonard and Courville, 2013 (arXiv 1308.3432).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int8
from torch import Tensor, nn

LEVELS = 127


def weight_scale(weight: Float[Tensor, "out ..."]) -> Float[Tensor, " _"]:
    """Return the step between two levels: (1,) for a matrix, one per output channel for a convolution."""
    size = weight.detach().abs()
    largest = size.flatten(1).amax(1) if weight.ndim > 2 else size.amax().reshape(1)
    # A tensor of zeros may have any scale; 1 keeps the division harmless.
    return torch.where(largest > 0, largest / LEVELS, 1.0)


def fake_int8(weight: Float[Tensor, "out ..."]) -> Float[Tensor, "out ..."]:
    """Return the weight rounded to the levels, as floats; the gradient passes through the rounding unchanged."""
    scale = weight_scale(weight)
    zero = torch.zeros_like(scale, dtype=torch.int32)
    if weight.ndim > 2:
        return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -LEVELS, LEVELS)
    return torch.fake_quantize_per_tensor_affine(weight, scale, zero, -LEVELS, LEVELS)


def to_int8(weight: Float[Tensor, "out ..."]) -> tuple[Int8[Tensor, "out ..."], Float[Tensor, " _"]]:
    """Return levels and scale; `from_int8` of them is `fake_int8` of the weight."""
    scale = weight_scale(weight)
    levels = (weight * (1 / scale).view(-1, *[1] * (weight.ndim - 1))).round().clamp(-LEVELS, LEVELS)
    return levels.to(torch.int8), scale


def from_int8(levels: Int8[Tensor, "out ..."], scale: Float[Tensor, " _"]) -> Float[Tensor, "out ..."]:
    """Return the weight of levels and scale."""
    return levels.float() * scale.view(-1, *[1] * (levels.ndim - 1))


class ActivationInt8(nn.Module):
    """Rounds its input to int8 levels, once it is switched on.

    The scale follows the largest value seen in training, also before that; a step keeps a share `momentum` of the old.
    """

    largest: Tensor

    def __init__(self, momentum: float = 0.99) -> None:
        super().__init__()
        self.momentum, self.on = momentum, False
        self.register_buffer("largest", torch.zeros(1))

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return x rounded; values beyond the scale are cut off and get no gradient."""
        if self.training:
            seen = x.detach().abs().amax().reshape(1)
            old = torch.where(self.largest > 0, self.largest, seen)
            self.largest.copy_(torch.maximum(self.momentum * old + (1 - self.momentum) * seen, torch.tensor(1e-8)))
        if not self.on:
            return x
        scale = torch.where(self.largest > 0, self.largest / LEVELS, 1.0)
        zero = torch.zeros(1, dtype=torch.int32)
        return torch.fake_quantize_per_tensor_affine(x, scale, zero, -LEVELS, LEVELS)
