"""Bottlenecks between encoder and decoder. Plain networks without a trainer.

The encoder's output is a `code`. A bottleneck turns it into the latent that training decodes (`sample`) and into the
latent that stands for the policy afterwards (`center`).
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lightning_pz.common.errors import UserError

Code = Float[Tensor, "policies code"]
Latents = Float[Tensor, "policies latent"]


class Plain(nn.Module):
    """Passes the code on unchanged."""

    draws = False  # Whether `sample` is random

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim

    @property
    def code_size(self) -> int:
        """Numbers that the encoder must give for each policy."""
        return self.latent_dim

    def center(self, code: Code) -> Latents:
        """Return the latents that stand for the policies, (N, k)."""
        return code

    def sample(self, code: Code, generator: torch.Generator | None) -> Latents:
        """Return the latents that training decodes, (N, k); the generator is on the CPU, None where `draws` is False."""
        return code

    def penalty(self, code: Code) -> Float[Tensor, ""] | None:
        """Return what is added to the loss, or None."""
        return None

    def prefixes(self, *, dense: bool = False) -> list[int]:
        """Return the numbers of leading latents to measure with the rest zero; k comes last."""
        return [self.latent_dim]


class Nested(Plain):
    """Nested dropout: in training every policy keeps only its first b latents, every b from 1 to k equally likely.

    One run gives the error of every latent size, with latents in order of use; one decoder for all sizes costs each a
    bit. Source: Rippel, Gelbart, Adams, "Learning Ordered Representations with Nested Dropout", ICML 2014; their
    geometric distribution of b would hardly ever train the last of many latents.
    """

    draws = True

    def sample(self, code: Code, generator: torch.Generator | None) -> Latents:
        """Return the latents, (N, k), each policy's zero behind a random prefix."""
        lengths = torch.randint(1, self.latent_dim + 1, (len(code),), generator=generator)
        return code * prefix_mask(lengths, self.latent_dim).to(code)

    def prefixes(self, *, dense: bool = False) -> list[int]:
        """Return sizes from 1 to k: 1, 2, 3, 4, 6, 8, 12, ..., or `dense`: steps of 1 to 16, 2 to 32, 4 to 64, ..."""
        sizes, size = [], 1
        while size < self.latent_dim:
            sizes.append(size)
            octave = 1 << (size.bit_length() - 1)
            size += max(1, octave // (8 if dense else 2))
        return [*sizes, self.latent_dim]


class Variational(Plain):
    """A Gaussian posterior per latent, held to the standard normal; latents that carry nothing fall to a KL of 0.

    `kl_weight` is the weight of the KL divergence, in FVU per nat. Source: Kingma and Welling, "Auto-Encoding
    Variational Bayes", 2014, appendix B; the weight is that of Higgins et al., "beta-VAE", 2017.
    """

    draws = True

    def __init__(self, latent_dim: int, kl_weight: float) -> None:
        super().__init__(latent_dim)
        self.kl_weight = kl_weight

    @property
    def code_size(self) -> int:
        """A mean and a log variance for each latent."""
        return 2 * self.latent_dim

    def center(self, code: Code) -> Latents:
        """Return the posterior means, (N, k)."""
        return code[:, : self.latent_dim]

    def sample(self, code: Code, generator: torch.Generator | None) -> Latents:
        """Draw from the posteriors, (N, k)."""
        mean, log_variance = code.chunk(2, 1)
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        return mean + (0.5 * log_variance).exp() * noise

    def penalty(self, code: Code) -> Float[Tensor, ""] | None:
        """Return the weighted KL divergence, its mean over policies."""
        return self.kl_weight * self.kl(code).sum(1).mean()

    def kl(self, code: Code) -> Latents:
        """Return the KL divergence of each latent from the standard normal, (N, k), in nats."""
        mean, log_variance = code.chunk(2, 1)
        return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


Bottleneck = Literal["plain", "nested", "variational"]


def make_bottleneck(name: Bottleneck, latent_dim: int, kl_weight: float) -> Plain:
    """Return the bottleneck of that name."""
    if name == "variational":
        return Variational(latent_dim, kl_weight)
    return Nested(latent_dim) if name == "nested" else Plain(latent_dim)


def prefix_mask(lengths: Int[Tensor, " policies"], latent_dim: int) -> Bool[Tensor, "policies latent"]:
    """Return which latents are kept when each policy keeps its first ones."""
    return torch.arange(latent_dim) < lengths[:, None]


def check_latent_dim(latent_dim: int, fingerprint_size: int) -> None:
    """Raise `UserError` unless the latent is at least 1 and no larger than the fingerprint."""
    if not 1 <= latent_dim <= fingerprint_size:
        raise UserError(
            f"--model.latent_dim expects 1 to {fingerprint_size}, the numbers in a fingerprint (probe states x action "
            f"size), but got {latent_dim}"
        )
