"""A Gaussian process over policies that knows their returns by single episodes, and the value of one episode more.

Its hyperparameters are averaged over a grid, since a dozen episodes do not decide them, and its scale is integrated out,
since nothing is known of it before a task's first episodes.

References:
    Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, algorithm 2.1.
    Frazier, Powell and Dayanik, "The Knowledge-Gradient Policy for Correlated Normal Beliefs", 2009.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

MEAN, FORM = 4.0, 0.3
"""Variance of the mean over all policies, and over those of one form, in variances of the function around them."""
_LENGTHS = (0.06, 0.12, 0.25, 0.5, 1.0)  # Length scales, in roots of the number of coordinates
_NOISES = (0.01, 0.1, 0.3, 1.0, 3.0)  # Variances of one episode, in variances of the function
_SHARED = (0.1, 0.5, 0.9)  # Correlations of policies of different forms at one point
_AVERAGED = 12  # The most plausible of these combinations, which the others would hardly change
_NODES = torch.linspace(-4, 4, 33, dtype=torch.double)  # Standard normal values over which an expectation is taken


class Policies(NamedTuple):
    """What the process sees of some policies."""

    points: Float[Tensor, "policies size"]  # Whitened latents, (m, k) float64
    forms: Int[Tensor, " policies"]  # How a point becomes weights, (m,)


class KernelGrid(NamedTuple):
    """Some combinations of hyperparameters, (g,) float64 each."""

    length: Tensor  # Length scale, in units of the points
    noise: Tensor  # Variance of one episode, in variances of the function
    shared: Tensor  # Correlation of policies of different forms at one point


class Posterior(NamedTuple):
    """What is known of m policies, the n that were tried first, under each of g hyperparameters."""

    weight: Tensor  # Probability of the hyperparameters, (g,)
    mean: Tensor  # Of each policy's expected return, (g, m)
    variance: Tensor  # Of the same, (g, m)
    covariance: Tensor  # With the policies that were tried, (g, n, m)
    noise: Tensor  # Variance of one episode's return, (g,)

    @property
    def expected(self) -> Float[Tensor, " policies"]:
        """Posterior mean of each policy's expected return, (m,)."""
        return self.weight @ self.mean


def hyperparameter_grid(size: int) -> KernelGrid:
    """Return all combinations for points of some coordinates."""
    length, noise, shared = torch.cartesian_prod(
        *(torch.tensor(each, dtype=torch.double) for each in (_LENGTHS, _NOISES, _SHARED))
    ).T
    return KernelGrid(length * math.sqrt(size), noise, shared)


def prior_covariance(grid: KernelGrid, first: Policies, second: Policies) -> Float[Tensor, "grid first second"]:
    """Return the covariance of expected returns, in variances of the function: a Matern kernel (5/2) and two means."""
    distance = torch.cdist(first.points, second.points, compute_mode="donot_use_mm_for_euclid_dist")
    scaled = math.sqrt(5) * distance / grid.length[:, None, None]
    local = (1 + scaled + scaled.square() / 3) * torch.exp(-scaled)
    same = (first.forms[:, None] == second.forms).double()
    shared = grid.shared[:, None, None]
    return MEAN + FORM * same + (shared + (1 - shared) * same) * local


class GaussianProcess(NamedTuple):
    """The process given the returns of n policies, under each of g hyperparameters."""

    tried: Policies
    hyperparameters: KernelGrid
    weight: Tensor  # Their posterior probabilities, (g,)
    center: Tensor  # Mean return over all episodes, ()
    scale: Tensor  # Variance of the function, (g,)
    factor: Tensor  # Cholesky factor of the covariance of the policies' mean returns, (g, n, n)
    white: Tensor  # That factor's inverse times the centered mean returns, (g, n, 1)

    def posterior(self, others: Policies | None = None) -> Posterior:
        """Return what is known of the policies that were tried, and of others after them."""
        every = self.tried
        if others is not None:
            every = Policies(*(torch.cat(both) for both in zip(every, others, strict=True)))
        prior = prior_covariance(self.hyperparameters, self.tried, every)
        gain = torch.linalg.solve_triangular(self.factor, prior, upper=False)
        covariance = prior - gain[:, :, : len(self.tried.forms)].mT @ gain
        variance = (MEAN + FORM + 1 - gain.square().sum(1)).clamp_min(0)
        return Posterior(
            self.weight,
            self.center + (gain.mT @ self.white)[..., 0],
            self.scale[:, None] * variance,
            self.scale[:, None, None] * covariance,
            self.scale * self.hyperparameters.noise,
        )


def condition(
    tried: Policies, returns: Float[Tensor, " tried"], episodes: Float[Tensor, " tried"], count: int = _AVERAGED
) -> GaussianProcess:
    """Return the process given mean returns, finite, over some episodes of each policy, (n,) float64 both.

    It keeps the `count` most plausible hyperparameters. All are equally probable before; the scale of all variances has
    a prior that is flat in its logarithm, and the center takes one degree of freedom.
    """
    grid = hyperparameter_grid(tried.points.shape[1])
    center = (returns * episodes).sum() / episodes.sum()
    noise = torch.diag_embed(grid.noise[:, None] / episodes)
    factor = torch.linalg.cholesky(prior_covariance(grid, tried, tried) + noise)
    centered = (returns - center)[None, :, None].expand(len(factor), -1, 1)
    white = torch.linalg.solve_triangular(factor, centered, upper=False)
    squares = white.square().sum((1, 2)) + 1e-12 * (1 + center.square())
    freedom = max(1, len(returns) - 1)
    evidence = -0.5 * freedom * squares.log() - factor.diagonal(dim1=1, dim2=2).log().sum(1)
    evidence, best = evidence.topk(count)
    kept = KernelGrid(*(each[best] for each in grid))
    return GaussianProcess(tried, kept, evidence.softmax(0), center, squares[best] / freedom, factor[best], white[best])


def knowledge_gradient(known: Posterior) -> Float[Tensor, " policies"]:
    """Return by how much one episode of each policy is expected to raise the best posterior mean, (m,).

    The best is that of the policies that were tried and of this one. An episode of return r moves all means along their
    covariances with it, by an amount that is normal before it is played. The maximum has kinks, for which equal steps of
    the quadrature do better than Gauss and Hermite's.
    """
    tried = known.covariance.shape[1]
    spread = (known.variance + known.noise[:, None]).sqrt()  # Standard deviation of the return of an episode
    moves, own = known.covariance / spread[:, None], known.variance / spread
    after = torch.zeros_like(known.mean)
    for node, share in zip(_NODES, (-0.5 * _NODES.square()).softmax(0), strict=True):
        best = (known.mean[:, :tried, None] + node * moves).amax(1)
        after += share * torch.maximum(best, known.mean + node * own)
    return known.weight @ (after - known.mean[:, :tried].amax(1, keepdim=True))
