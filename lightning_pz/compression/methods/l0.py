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
_EDGE = 1e-6
"""Uniform numbers keep this far from 0 and 1, where their logit is infinite."""


def gate(log_alpha: Float[Tensor, "..."], uniform: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return gates `clip(s (r - l) + l, 0, 1)`, `s = sigmoid((logit(u) + log_alpha) / beta)`, stretch (l, r).

    Args:
        log_alpha: Location of each gate; large is open.
        uniform: Uniform numbers in (0, 1), of the same shape.
    """
    low, high = STRETCH
    s = torch.sigmoid((torch.logit(uniform) + log_alpha) / TEMPERATURE)
    return (s * (high - low) + low).clamp(0, 1)


def steady_gate(log_alpha: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return the gates that a finished network has: `clip(sigmoid(log_alpha) (r - l) + l, 0, 1)`."""
    low, high = STRETCH
    return (torch.sigmoid(log_alpha) * (high - low) + low).clamp(0, 1)


def open_probability(log_alpha: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return the probability that each gate is not zero: `sigmoid(log_alpha - beta log(-l / r))`."""
    low, high = STRETCH
    return torch.sigmoid(log_alpha - TEMPERATURE * math.log(-low / high))


class HardConcrete(nn.Module):
    """A parametrization with one gate per weight: `w = theta * gate`.

    In training mode gates are noisy, with noise that `draw` renews; otherwise they are `steady_gate`.

    Args:
        shape: Of the weight.
        start: Probability that a gate is open at the start, within 0 and 1.
    """

    uniform: Tensor

    def __init__(self, shape: tuple[int, ...], start: float = 0.9) -> None:
        super().__init__()
        low, high = STRETCH
        location = math.log(start / (1 - start)) + TEMPERATURE * math.log(-low / high)
        self.log_alpha = nn.Parameter(torch.full(shape, location))
        self.register_buffer("uniform", torch.full(shape, 0.5))

    def draw(self, generator: torch.Generator) -> None:
        """Draw new noise for the next forward passes."""
        # Drawn on the generator's device, so that every device gets the same noise.
        drawn = torch.empty(self.uniform.shape, device=generator.device)
        self.uniform.copy_(drawn.uniform_(_EDGE, 1 - _EDGE, generator=generator))

    def forward(self, weight: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return the gated weight."""
        return weight * (gate(self.log_alpha, self.uniform) if self.training else steady_gate(self.log_alpha))

    def expected_open(self) -> Float[Tensor, ""]:
        """Return the expected number of open gates, the L0 penalty."""
        return open_probability(self.log_alpha).sum()

    @torch.no_grad()
    def open(self) -> Tensor:
        """Return which gates of the finished network are open, bool of the weight's shape."""
        return steady_gate(self.log_alpha) > 0
