"""Search spaces: whitened points, and how a point becomes the weights of a policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lightning_pz.common.latent_distribution import LatentDistribution
from lightning_pz.policy import Layout, Prior, draw_params, prior_scale

Decode = Callable[[Tensor], Tensor]  # From points, (n, d), to flat weights, (n, P) float32; differentiable


@dataclass(frozen=True)
class SearchSpace:
    """Points of which a standard normal cloud covers the useful ones."""

    size: int  # Coordinates of a point, d
    decode: Decode  # From points to weights
    # From a number n and a seed to n points to begin at, (n, d) float64; the middle of the latents is the first
    draw: Callable[[int, int], Tensor]
    # From weights, (n, P), to points, (n, d) float64; None if there is no way back
    encode: Callable[[Tensor], Tensor] | None = None
    # From a number n and a generator to n random points, (n, d) float64; None without a distribution
    sample: Callable[[int, torch.Generator], Tensor] | None = None


def latent_space(
    decoder: Decode, latents: LatentDistribution, encoder: Callable[[Tensor], Tensor] | None = None
) -> SearchSpace:
    """Return the whitened latents, (n, k), of a frozen decoder to (n, P); `encode` needs the encoder back."""

    def draw(count: int, seed: int) -> Tensor:
        points = latents.sample_points(count, torch.Generator().manual_seed(seed))
        points[0] = latents.middle()
        return points

    def encode(params: Tensor) -> Tensor:
        assert encoder is not None
        with torch.no_grad():
            return latents.to_points(encoder(params))

    back = None if encoder is None else encode
    return SearchSpace(
        len(latents.mean), lambda points: decoder(latents.to_latents(points)), draw, back, latents.sample_points
    )


def parameter_space(prior: Prior, layout: Layout) -> SearchSpace:
    """Return the weights themselves, in standard deviations of the prior; one that the prior holds at zero stays there."""
    scale = prior_scale(prior, layout).double()

    def encode(params: Tensor) -> Tensor:
        return torch.where(scale > 0, params.double() / scale, 0.0)

    return SearchSpace(
        layout.num_params,
        lambda points: (points.double() * scale).float(),
        lambda count, seed: encode(draw_params(prior, layout, seed, np.arange(count))),
        encode,
    )


def widened_space(latents: SearchSpace, weights: SearchSpace, share: float) -> SearchSpace:
    """Return k latents and P offsets of all weights, to reach what the decoder cannot give.

    A unit of an offset is `share` units of the parameter space. A step moves both; its latent part is as long as it
    would be alone, because the longest step grows with the root of the number of coordinates.
    """
    k = latents.size

    def decode(points: Tensor) -> Tensor:
        return latents.decode(points[:, :k]) + weights.decode(share * points[:, k:])

    def beside(points: Tensor) -> Tensor:
        return torch.cat([points, points.new_zeros(len(points), weights.size)], dim=1)

    forth, back = latents.draw, latents.encode
    encode = None if back is None else lambda params: beside(back(params))
    return SearchSpace(k + weights.size, decode, lambda count, seed: beside(forth(count, seed)), encode)
