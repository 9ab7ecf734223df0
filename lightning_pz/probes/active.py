"""How many numbers of a latent are in use."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_pz.common.errors import UserError
from lightning_pz.probes.estimate import ProbeEstimate

ACTIVE_NATS = 0.01
"""KL divergence from the prior above which a latent of a variational bottleneck counts as in use, nats."""


def active_by_divergence(
    divergences: Float[Tensor, "policies latent"], threshold: float = ACTIVE_NATS
) -> ProbeEstimate:
    """Return how many latents carry information in a variational bottleneck.

    The standard error is that of a count of independent latents, each of which may truly lie on the other side of the
    threshold: `sqrt(sum_j p_j (1 - p_j))`, p_j the normal probability that its mean divergence is above.

    Args:
        divergences: KL divergence of each policy's posterior from the prior in each latent, nats, (N, k).
        threshold: Mean divergence above which a latent counts, nats.

    Raises:
        UserError: Fewer than two policies, or divergences that are not finite.

    References:
        Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", ICLR 2016, section 5.2, with the divergence in place of
        the posterior mean's variance.
    """
    if len(divergences) < 2 or not bool(torch.isfinite(divergences).all()):
        raise UserError(
            f"active latents expect finite divergences of at least 2 policies, but got {len(divergences)} rows"
        )
    values = divergences.double()
    means, errors = values.mean(0), values.std(0) / math.sqrt(len(values))
    above = torch.special.ndtr((means - threshold) / errors.clamp_min(1e-12))
    return ProbeEstimate(float((means > threshold).sum()), float((above * (1 - above)).sum().sqrt()))


def divergence_rank(divergences: Float[Tensor, "policies latent"]) -> float:
    """Return `exp(entropy)` of the shares of the mean KL divergence: an effective number of latents; NaN if all are 0."""
    shares = divergences.double().mean(0).clamp_min(0)
    shares = shares / shares.sum()
    return float(torch.special.entr(shares).sum().exp()) if bool(torch.isfinite(shares).all()) else math.nan


def decoder_singular_values(
    weight: Float[Tensor, "hidden latent"], covariance: Float[Tensor, "latent latent"]
) -> Float[Tensor, " latent"]:
    """Return the singular values of a decoder's first layer on whitened latents, largest first, (k,).

    Zero-padded to k where the layer is narrower. A direction in which the latents do not vary, or to which the layer is
    blind, has the value 0.

    Args:
        weight: Of the first linear layer, (hidden, k).
        covariance: Of the latents over the pool, (k, k).
    """
    values, vectors = torch.linalg.eigh(covariance.double())
    found = torch.linalg.svdvals(weight.double() @ (vectors * values.clamp_min(0).sqrt()))
    return torch.nn.functional.pad(found, (0, len(covariance) - len(found)))


def active_by_singular_values(values: Float[Tensor, " latent"], share: float = 0.01) -> ProbeEstimate:
    """Return how many singular values exceed a share of the largest; no standard error, for the weights are no sample."""
    return ProbeEstimate(float((values > share * values.max()).sum()))
