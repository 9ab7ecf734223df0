"""The decoder, from a latent to a whole policy. A plain network without a trainer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_pz.autoencoder.encoders import mlp


class Decoder(nn.Module):
    """An MLP from a latent, (k,), to flat policy weights, (P,), in standard deviations under the prior, (P,).

    So every parameter starts at its natural size. The last layer's weights start small, by a factor `last_gain`, and
    its bias at one draw of the prior: with all-zero weights a policy's hidden units would be and stay equal.
    """

    prior_std: Tensor

    def __init__(
        self,
        latent_dim: int,
        prior_std: Float[Tensor, " params"],
        widths: Sequence[int],
        dropout: float = 0.0,
        last_gain: float = 0.1,
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.register_buffer("prior_std", prior_std.clone())
        self.network = mlp([latent_dim, *widths, len(prior_std)], dropout=dropout)
        last = self.network[-1]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            last.weight.mul_(last_gain)
            last.bias.normal_()

    def forward(self, latents: Float[Tensor, "policies latent"]) -> Float[Tensor, "policies params"]:
        """Decode latents, (N, k), to flat weights, (N, P)."""
        return self.network(latents) * self.prior_std
