"""Probes of a trained decoder: Jacobian ranks, Lipschitz constant, active latents, agreement of neighborhoods."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_pz.common.errors import UserError
from lightning_pz.policy import Layout, act_shared
from lightning_pz.probes.agreement import Ranks, neighbor_ranks, rank_agreement
from lightning_pz.probes.estimate import ProbeEstimate
from lightning_pz.probes.jacobian import jacobian_grams, jacobian_rank, largest_lipschitz, lipschitz, whiten_grams
from lightning_pz.probes.neighbors import distinct_points

Covariance = Float[Tensor, "latent latent"]
ACTIVE_NATS = 0.01
"""KL divergence from the prior above which a latent of a variational bottleneck counts as in use, nats."""
AGREEMENT_NEIGHBORS = 10  # Neighbors whose agreement between latent and behavior distances is measured


def jacobian_probes(
    decoder: nn.Module,
    layout: Layout,
    states: Float[Tensor, "states observation"],
    latents: Float[Tensor, "points latent"],
    covariance: Covariance,
) -> dict[str, ProbeEstimate]:
    """Return ranks and Lipschitz constants of the maps to weights and to actions, per standard deviation of the latents.

    The decoder maps latents, (N, k), to flat weights, (N, P), which count in units of its buffer `prior_std`. The
    states are standardized, (S, O); the covariance, (k, k), is that of the latents over the pool.
    """
    scale = decoder.prior_std
    free = torch.where(scale > 0, 1 / scale, 0.0)  # type: ignore[arg-type, operator]

    def outputs(latent: Tensor) -> tuple[Tensor, Tensor]:
        params = decoder(latent[None])
        return params * free, act_shared(layout, params, states)

    weights, actions = (whiten_grams(grams.cpu(), covariance) for grams in jacobian_grams(outputs, latents))
    return {
        "jacobian_rank_params": jacobian_rank(weights),
        "jacobian_rank_actions": jacobian_rank(actions),
        "lipschitz": lipschitz(actions),
        "lipschitz_largest": largest_lipschitz(actions),
    }


def active_by_divergence(
    divergences: Float[Tensor, "policies latent"], threshold: float = ACTIVE_NATS
) -> ProbeEstimate:
    """Return how many latents have a mean KL divergence above a threshold, of divergences (N, k), all in nats.

    The standard error is that of a count of independent latents, each of which may truly be on the other side of the
    threshold: `sqrt(sum_j p_j (1 - p_j))`, p_j the normal probability that its mean divergence is above. Raises
    `UserError`: fewer than two policies, or divergences that are not finite. Source: Burda, Grosse and Salakhutdinov,
    "Importance weighted autoencoders", ICLR 2016, section 5.2, with the divergence in place of the posterior mean's
    variance.
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


def decoder_singular_values(weight: Float[Tensor, "hidden latent"], covariance: Covariance) -> Float[Tensor, " latent"]:
    """Return the k singular values of a first layer, (hidden, k), on whitened latents, largest first."""
    values, vectors = torch.linalg.eigh(covariance.double())
    found = torch.linalg.svdvals(weight.double() @ (vectors * values.clamp_min(0).sqrt()))
    return torch.nn.functional.pad(found, (0, len(covariance) - len(found)))


def active_by_singular_values(values: Float[Tensor, " latent"], share: float = 0.01) -> ProbeEstimate:
    """Return how many singular values exceed a share of the largest; no standard error, for the weights are no sample."""
    return ProbeEstimate(float((values > share * values.max()).sum()))


def active_probes(
    decoder: nn.Module, covariance: Covariance, divergences: Tensor | None
) -> tuple[dict[str, ProbeEstimate], dict[str, list[float]]]:
    """Return how many latents are in use, and the spectra behind it; divergences are in nats, (N, k)."""
    first = next(module for module in decoder.modules() if isinstance(module, nn.Linear))
    values = decoder_singular_values(first.weight.detach().cpu(), covariance)
    estimates = {"active_singular_values": active_by_singular_values(values)}
    spectra = {"decoder_singular_values": values.tolist()}
    if divergences is not None:
        estimates["active_latents"] = active_by_divergence(divergences)
        estimates["divergence_rank"] = ProbeEstimate(divergence_rank(divergences))
        spectra["divergence_nats"] = divergences.double().mean(0).tolist()
    return estimates, spectra


def agreement_probes(
    behavior: Ranks | None, latents: Float[Tensor, "points latent"]
) -> tuple[dict[str, ProbeEstimate], dict[str, str]]:
    """Return trustworthiness and continuity of the latents, (N, k), by the ranks of behaviors, or NaN and why."""
    names = ("trustworthiness", "continuity")
    try:
        if behavior is None:
            raise UserError("the behaviors could not be ranked: too few, all equal or not finite")
        return rank_agreement(behavior, neighbor_ranks(latents), AGREEMENT_NEIGHBORS), {}
    except UserError as error:
        return dict.fromkeys(names, ProbeEstimate(math.nan)), dict.fromkeys(names, str(error))


def rank_behaviors(behavior: Float[Tensor, "points features"]) -> tuple[Ranks | None, Tensor]:
    """Return the ranks of distinct behaviors, None where they cannot be ranked, and their rows."""
    if not bool(torch.isfinite(behavior).all()):
        return None, torch.arange(len(behavior))
    kept, rows = distinct_points(behavior)
    try:
        return neighbor_ranks(kept), rows
    except UserError:
        return None, rows


def variational_divergences(module: Any, batch: Any) -> Tensor | None:
    """Return the KL divergences of a batch's policies, nats, (N, k), from a module whose bottleneck has them, or None."""
    divergence = getattr(getattr(module, "bottleneck", None), "kl", None)
    return None if divergence is None else divergence(module._code(batch)).float().cpu()
