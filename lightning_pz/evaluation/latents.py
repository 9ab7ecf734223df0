"""Which latents to decode: a grid where one can be drawn, samples of the distribution of the pool's latents above."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_pz.common.latent_distribution import LatentDistribution

GRID_DIM = 3
"""Up to this latent size a grid is laid."""
_REACH = 2.5
"""Half width of the grid, in standard deviations of each latent coordinate over the pool."""


def grid_side(latent_dim: int, count: int) -> int:
    """Return how many points a side of the largest grid has that holds at most `count` points."""
    side = round(count ** (1 / latent_dim))
    return side if side**latent_dim <= count else side - 1


def choose_latents(latents: LatentDistribution, count: int, seed: int) -> Float[Tensor, "points latent"]:
    """Return at most `count` latents to decode, (n, k).

    For k <= 3 a grid over mean +- 2.5 standard deviations of each coordinate, the last coordinate fastest, so that
    `reshape` to k sides gives the map back. Above, `count` samples.

    Args:
        latents: Those of the pool.
        count: How many; the pool's policies are as many, so that a maximum over each is a fair comparison.
        seed: Seed of the samples.
    """
    k = len(latents.mean)
    if k <= GRID_DIM:
        side = grid_side(k, count)
        reach = _REACH * latents.covariance.diagonal().sqrt()
        axes = [torch.linspace(float(m - r), float(m + r), side) for m, r in zip(latents.mean, reach, strict=True)]
        return torch.cartesian_prod(*axes).reshape(-1, k)
    return latents.to_latents(latents.sample(count, torch.Generator().manual_seed(seed)))
