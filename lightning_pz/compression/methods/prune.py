"""Magnitude pruning: masks that only ever shrink."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


class Mask(nn.Module):
    """A parametrization that holds weights at zero: `w = theta * mask`; no gradient reaches a masked weight."""

    keep: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("keep", torch.ones(shape, dtype=torch.bool))

    def forward(self, weight: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        # Not a product: zero times an infinite weight would not be zero.
        return torch.where(self.keep, weight, 0.0)

    @torch.no_grad()
    def shrink(self, weight: Float[Tensor, "..."], kept: int) -> None:
        """Keep only the `kept` largest of the weights still kept; no weight comes back."""
        self.keep &= magnitude_mask(weight, self.keep, kept)


def magnitude_mask(weight: Float[Tensor, "..."], keep: Bool[Tensor, "..."], kept: int) -> Bool[Tensor, "..."]:
    """Return the mask of the `kept` largest weights, or all, among those kept so far; of equal ones the first."""
    size = torch.where(keep, weight.abs(), -1.0).flatten()
    kept = min(kept, int(keep.sum()))
    if kept == 0:
        return torch.zeros_like(keep)
    # The k-th value is found several times faster than all are sorted.
    mask = size > (least := size.kthvalue(size.numel() - kept + 1).values)
    ties = (size == least).nonzero().flatten()
    mask[ties[: kept - int(mask.sum())]] = True
    return mask.view_as(keep)
