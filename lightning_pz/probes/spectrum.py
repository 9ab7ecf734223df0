"""Effective numbers of directions of a cloud of points, from the spectrum of its covariance.

The standard errors are those of the influence function: for a function T of the eigenvalues l_j of the covariance, a
point with scores s_j moves T by sum_j dT/dl_j (s_j^2 - l_j) / N, as an independent draw (Critchley, Biometrika 72
(1985) 627).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_pz.common.errors import UserError
from lightning_pz.probes.estimate import Points, ProbeEstimate, check_points
from lightning_pz.probes.linear import principal_axes


@dataclass(frozen=True)
class Spectrum:
    """Principal variances of some points, largest first, (r,), and the points' coordinates along the axes, (N, r)."""

    eigenvalues: Float[Tensor, " axes"]
    scores: Float[Tensor, "points axes"]


def spectrum(points: Points) -> Spectrum:
    """Return the covariance spectrum of points that differ, in double precision, without axes of rounding errors."""
    check_points(points, 2, "a spectrum")
    mean, axes = principal_axes(points, min(len(points) - 1, points.shape[1]))
    scores = (points.double() - mean) @ axes.T
    eigenvalues = scores.square().mean(0)
    kept = eigenvalues > eigenvalues.max() * 1e-14
    eigenvalues, order = eigenvalues[kept].sort(descending=True)
    return Spectrum(eigenvalues, scores[:, kept][:, order])


def participation_ratio(found: Spectrum) -> ProbeEstimate:
    """Return `(sum l)^2 / sum l^2`, biased low by about value^2 / N.

    Source: Gao et al., "A theory of multineuronal dimensionality, dynamics and measurement", 2017.
    """
    values = found.eigenvalues
    total, squares = values.sum(), values.square().sum()
    slope = 2 * total / squares - 2 * total**2 * values / squares**2
    return _with_error(found, float(total**2 / squares), slope)


def entropy_rank(found: Spectrum) -> ProbeEstimate:
    """Return `exp(-sum p log p)`, p the shares of variance: the effective rank of Roy and Vetterli, EUSIPCO 2007."""
    shares = found.eigenvalues / found.eigenvalues.sum()
    entropy = -(shares * shares.log()).sum()
    slope = -entropy.exp() * (shares.log() + entropy) / found.eigenvalues.sum()
    return _with_error(found, float(entropy.exp()), slope)


def components_for(found: Spectrum, share: float) -> ProbeEstimate:
    """Return the fewest principal components that hold a share of the variance, interpolated linearly for its error."""
    if not 0 < share < 1:
        raise UserError(f"a share of variance must lie between 0 and 1, but got {share}")
    values = found.eigenvalues
    held = values.cumsum(0)
    last = min(int((held < share * held[-1] * (1 - 1e-12)).sum()), len(values) - 1)
    before = held[last] - values[last]
    slope = torch.full_like(values, share / float(values[last]))
    slope[:last] -= 1 / values[last]
    slope[last] -= (share * held[-1] - before) / values[last] ** 2
    return _with_error(found, float(last + 1), slope)


def gaussian_surrogate(found: Spectrum, seed: int) -> Points:
    """Return as many Gaussian points of exactly the same spectrum, (N, r), to show what its decay alone gives."""
    count, axes = found.scores.shape
    raw = torch.randn(count, axes, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    directions = torch.linalg.qr(raw - raw.mean(0)).Q
    return directions * (count * found.eigenvalues).sqrt()


def _with_error(found: Spectrum, value: float, slope: Float[Tensor, " axes"]) -> ProbeEstimate:
    influence = (found.scores.square() - found.eigenvalues) @ slope
    return ProbeEstimate(value, float(influence.square().mean().sqrt()) / math.sqrt(len(influence)))
