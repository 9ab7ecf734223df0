"""Encoders, from a policy to a latent. Plain networks without a trainer."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


def mlp(sizes: Sequence[int], *, dropout: float = 0.0) -> nn.Sequential:
    """Build Linear, LayerNorm (it lowers held-out FVU much), SiLU, dropout per hidden width, and a last Linear."""
    layers: list[nn.Module] = []
    for size, out in itertools.pairwise(sizes[:-1]):
        layers += [nn.Linear(size, out), nn.LayerNorm(out), nn.SiLU()]
        if dropout:
            layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


class BehaviorEncoder(nn.Module):
    """Reads a policy's fingerprint, M x A actions. Blind to the policy's size, so it generalizes."""

    reads = "fingerprints"

    def __init__(self, fingerprint_size: int, latent_dim: int, widths: Sequence[int], dropout: float = 0.0) -> None:
        super().__init__()
        self.network = mlp([fingerprint_size, *widths, latent_dim], dropout=dropout)

    def forward(self, fingerprints: Float[Tensor, "policies probe action"]) -> Float[Tensor, "policies latent"]:
        """Encode fingerprints, (N, M, A) in -1..1, to latents, (N, k)."""
        return self.network(fingerprints.flatten(1))


class ParametersEncoder(nn.Module):
    """Reads the weights over their standard deviation under the prior, (P,), as the paper does. Memorizes.

    Source: Tenedini et al., "From Parameters to Behaviors", arXiv 2509.22566.
    """

    reads = "params"
    prior_std: Tensor

    def __init__(
        self, prior_std: Float[Tensor, " params"], latent_dim: int, widths: Sequence[int], dropout: float = 0.0
    ) -> None:
        super().__init__()
        # Parameters that the prior fixes at 0 carry nothing; dividing by 1 keeps them at 0.
        self.register_buffer("prior_std", torch.where(prior_std > 0, prior_std, 1.0))
        self.network = mlp([len(prior_std), *widths, latent_dim], dropout=dropout)

    def forward(self, params: Float[Tensor, "policies params"]) -> Float[Tensor, "policies latent"]:
        """Encode flat weights, (N, P), to latents, (N, k)."""
        return self.network(params / self.prior_std)
