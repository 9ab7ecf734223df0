"""Intrinsic dimension from near neighbors: TwoNN, GRIDE, Levina-Bickel (ratios of distances) and local PCA.

The first three assume that the density is constant over a neighborhood; the standard errors hold where it is. With noise
they see the noise at small scales, and with d above about ten and a few thousand points they fall short, for the
neighborhoods then reach as far as the cloud. That is why they are printed with a scale curve and a Gaussian surrogate.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from scipy.optimize import brentq
from torch import Tensor

from lightning_pz.common.errors import UserError
from lightning_pz.probes.estimate import Points, ProbeEstimate
from lightning_pz.probes.neighbors import NeighborTable, linked_variance

GRIDE_SCALES = (1, 2, 4, 8, 16, 32)
"""n1 of the scale curve; the ratio is that of the distances to neighbors 2 n1 and n1."""


def two_nn(table: NeighborTable, discard: float = 0.1) -> ProbeEstimate:
    """Return the dimension from the ratio of each point's second to its first neighbor distance, by maximum likelihood.

    log(r2 / r1) is exponential with rate d. The largest share `discard` of the N ratios, not trusted, counts as
    censored at the largest kept one c: `d = (kept - 1) / sum min(log mu, c)`. Raises `UserError`: fewer than three
    points or two neighbors in the table, or a share outside its range. Source: Facco et al., Scientific Reports 7
    (2017) 12140; the likelihood: Denti et al., Scientific Reports 12 (2022) 20005.
    """
    table.check(2, "TwoNN")
    if not 0 <= discard < 1:
        raise UserError(f"TwoNN expects discard of at least 0 and below 1, but got {discard}")
    ratios = (table.distances[:, 1] / table.distances[:, 0]).log()
    kept = int(len(ratios) * (1 - discard))
    if kept < 2 or not ratios.sum() > 0:
        raise UserError(f"TwoNN needs at least 3 points at unequal distances, but got {len(ratios)}")
    ordered = ratios.sort().values
    limit = ordered[kept - 1]
    value = (kept - 1) / float(ordered[:kept].sum() + (len(ratios) - kept) * limit)
    scores = (ratios <= limit).double() - value * ratios.clamp_max(limit)
    error = value * math.sqrt(linked_variance(scores - scores.mean(), table.indices[:, :2])) / kept
    return ProbeEstimate(value, error)


def gride(table: NeighborTable, near: int, far: int | None = None) -> ProbeEstimate:
    """Return the dimension from the ratio of the distances to neighbors `far` (2 `near` if None) and `near`.

    By maximum likelihood: mu = r_far / r_near has density `d (mu^d - 1)^(far - near - 1) / (B(far - near, near)
    mu^((far - 1) d + 1))`. As is usual, (N - 1) log d replaces N log d, which makes neighbors 1 and 2 unbiased. Raises
    `UserError`: neighbors that the table does not hold or in the wrong order, fewer than three points, or distances
    that are all tied. Source: Denti, Doimo, Laio and Mira, "The generalized ratios intrinsic dimension estimator",
    Scientific Reports 12 (2022) 20005.
    """
    far = 2 * near if far is None else far
    if not 1 <= near < far:
        raise UserError(f"GRIDE expects neighbors 1 <= near < far, but got {near} and {far}")
    table.check(far, "GRIDE")
    ratios = (table.distances[:, far - 1] / table.distances[:, near - 1]).log()
    # Tied distances have no score; they are left out of the likelihood but stay as zeros in the links.
    untied = ratios > 0
    known, count, between = ratios[untied], int(untied.sum()), far - near - 1
    if count < 3:
        raise UserError(f"GRIDE needs at least 3 points at unequal distances, but got {count}")

    def slope(d: float) -> float:
        return float((count - 1) / d + between * (known / -torch.expm1(-d * known)).sum() - (far - 1) * known.sum())

    high = 1.0
    while slope(high) > 0:
        high *= 2
    d = float(brentq(slope, 1e-8, high, xtol=1e-12, rtol=1e-12))
    information = count / d**2 + between * float((known / (2 * torch.sinh(d * known / 2))).square().sum())
    scores = torch.zeros_like(ratios)
    one = 1 / d + between * known / -torch.expm1(-d * known) - (far - 1) * known
    scores[untied] = one - one.mean()
    return ProbeEstimate(d, math.sqrt(linked_variance(scores, table.indices[:, :far])) / information)


def levina_bickel(table: NeighborTable, neighbors: int = 20) -> ProbeEstimate:
    """Return the maximum-likelihood dimension over k >= 2 neighbors, the inverses averaged over the points.

    `1 / d = mean over points of mean over j < k of log(r_k / r_j)`. Raises `UserError`: fewer neighbors in the table,
    or distances that are all tied. Source: Levina and Bickel, NIPS 2004; the average of the inverses: MacKay and
    Ghahramani, 2005.
    """
    if neighbors < 2:
        raise UserError(f"Levina-Bickel expects at least 2 neighbors, but got {neighbors}")
    table.check(neighbors, "Levina-Bickel")
    near = table.distances[:, :neighbors]
    inverses: Float[Tensor, " points"] = (near[:, -1:] / near[:, :-1]).log().mean(1)
    mean = float(inverses.mean())
    if not mean > 0:
        raise UserError("Levina-Bickel needs neighbors at unequal distances, but all are tied")
    variance = linked_variance(inverses - mean, table.indices[:, :neighbors])
    return ProbeEstimate(1 / mean, math.sqrt(variance) / len(inverses) / mean**2)


def local_pca(
    points: Points,
    table: NeighborTable,
    neighbors: int = 100,
    threshold: float = 0.05,
    centers: int = 256,
    seed: int = 0,
) -> ProbeEstimate:
    """Return the mean number of local principal variances above a share `threshold` of the largest one.

    Never more than neighbors - 1 nor than features. With k neighbors (the center is not among them), d directions of
    equal variance are all counted while `(1 - sqrt(d / k))^2 > threshold (1 + sqrt(d / k))^2`, which is d < 0.4 k at 5
    %. At most `centers` neighborhoods, chosen by `seed`, are measured. Source: Fukunaga and Olsen, IEEE Transactions on
    Computers C-20 (1971) 176.
    """
    if not 0 < threshold < 1 or neighbors < 2:
        raise UserError(
            f"local PCA expects a threshold between 0 and 1 and at least 2 neighbors, but got {threshold}, {neighbors}"
        )
    table.check(neighbors, "local PCA")
    count = len(points)
    chosen = torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:centers]
    values = torch.zeros(count, dtype=torch.double)
    for rows in chosen.split(32):
        near = points.double()[table.indices[rows, :neighbors]]
        near = near - near.mean(1, keepdim=True)
        gram = near @ near.mT if neighbors < points.shape[1] else near.mT @ near
        variances = torch.linalg.eigvalsh(gram)
        values[rows] = (variances > threshold * variances[:, -1:]).double().sum(1)
    mean = float(values[chosen].mean())
    scores = torch.zeros(count, dtype=torch.double)
    scores[chosen] = values[chosen] - mean
    error = math.sqrt(linked_variance(scores, table.indices[:, :neighbors])) / len(chosen)
    return ProbeEstimate(mean, error)
