"""L0 regularization by hard-concrete gates.

References:
    Louizos, Welling and Kingma, Learning Sparse Neural Networks through L0 Regularization, ICLR 2018 (arXiv 1712.01312),
    equations 10 to 13; on policies: arXiv 2403.06313.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

STRETCH = (-0.1, 1.1)
TEMPERATURE = 2 / 3
_SHIFT = TEMPERATURE * math.log(-STRETCH[0] / STRETCH[1])
UNIFORM_EDGE = 1e-6
"""Uniform numbers keep this far from 0 and 1, where their logit is infinite."""


def gate(log_alpha: Float[Tensor, "..."], uniform: Float[Tensor, "..."] | None = None) -> Float[Tensor, "..."]:
    """Return gates `clip(s (r - l) + l, 0, 1)`, stretch (l, r), of their locations; a large one is open.

    With uniform numbers in (0, 1) `s = sigmoid((logit(u) + log_alpha) / beta)`; without them `s = sigmoid(log_alpha)`,
    as in a finished network.
    """
    low, high = STRETCH
    s = torch.sigmoid(log_alpha if uniform is None else (torch.logit(uniform) + log_alpha) / TEMPERATURE)
    return (s * (high - low) + low).clamp(0, 1)


def open_probability(log_alpha: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return the probability that each gate is not zero: `sigmoid(log_alpha - beta log(-l / r))`."""
    return torch.sigmoid(log_alpha - _SHIFT)


class HardConcrete(nn.Module):
    """A parametrization with one gate per weight, open with probability `start` at the start: `w = theta * gate`.

    In training mode gates are noisy, with noise that `draw` renews.
    """

    uniform: Tensor

    def __init__(self, shape: tuple[int, ...], start: float = 0.9) -> None:
        super().__init__()
        location = math.log(start / (1 - start)) + _SHIFT
        self.log_alpha = nn.Parameter(torch.full(shape, location))
        self.register_buffer("uniform", torch.full(shape, 0.5))

    def draw(self, generator: torch.Generator) -> None:
        """Draw new noise for the next forward passes."""
        # Drawn on the generator's device, so that every device gets the same noise.
        drawn = torch.empty(self.uniform.shape, device=generator.device)
        self.uniform.copy_(drawn.uniform_(UNIFORM_EDGE, 1 - UNIFORM_EDGE, generator=generator))

    def forward(self, weight: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return weight * gate(self.log_alpha, self.uniform if self.training else None)

    def expected_open(self) -> Float[Tensor, ""]:
        """Return the expected number of open gates, the L0 penalty."""
        return open_probability(self.log_alpha).sum()

    @torch.no_grad()
    def open(self) -> Tensor:
        """Return which gates of the finished network are open, bool of the weight's shape."""
        return gate(self.log_alpha) > 0
