"""Effective ranks of the decoder's Jacobian and the behavioral Lipschitz constant."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_pz.common.errors import UserError
from lightning_pz.probes.estimate import ProbeEstimate, mean_estimate

Grams = Float[Tensor, "points latent latent"]
_CHUNK = 4
"""Latents whose Jacobians are held at a time: of 64 numbers to 121,801 weights they are 250 MB in double precision."""


def jacobian_grams(
    function: Callable[[Tensor], tuple[Tensor, ...]], latents: Float[Tensor, "points latent"]
) -> tuple[Grams, ...]:
    """Return `J^T J / outputs` for each output of a function of one latent, (k,), at each of the latents, (n, k).

    J comes from forward-mode differentiation. The square root of `u^T G u` is then the root mean square change of the
    outputs per unit step along u. Raises `UserError`: a Jacobian that is not finite.
    """
    found: list[list[Tensor]] = []
    with torch.inference_mode(False), torch.no_grad():
        jacobian = torch.func.vmap(torch.func.jacfwd(function))
        for part in latents.clone().split(_CHUNK):
            flat = [one.reshape(len(part), -1, part.shape[1]).double() for one in jacobian(part)]
            found.append([matrix.mT @ matrix / matrix.shape[1] for matrix in flat])
    grams = tuple(torch.cat(output) for output in zip(*found, strict=True))
    if not all(bool(torch.isfinite(gram).all()) for gram in grams):
        raise UserError("the decoder's Jacobian is not finite: lower --model.learning_rate and fit again")
    return grams


def whiten_grams(grams: Grams, covariance: Float[Tensor, "latent latent"]) -> Grams:
    """Return the Gram matrices per standard deviation of the latents, from their covariance over the pool, (k, k)."""
    values, vectors = torch.linalg.eigh(covariance.double())
    root = vectors * values.clamp_min(0).sqrt()
    return root.T @ grams @ root


def jacobian_rank(grams: Grams) -> ProbeEstimate:
    """Return the mean participation ratio of the Jacobian's squared singular values; NaN if it is zero."""
    ratio = grams.diagonal(dim1=1, dim2=2).sum(1).square() / grams.square().sum((1, 2))
    return mean_estimate(ratio)


def lipschitz(grams: Grams) -> ProbeEstimate:
    """Return the mean over latents of the local Lipschitz constant: the largest singular value of the Jacobian.

    With `whiten_grams` and actions as outputs: RMS change of the action, in half action boxes, per standard deviation.
    """
    return mean_estimate(_steepest(grams))


def largest_lipschitz(grams: Grams) -> ProbeEstimate:
    """Return the largest local Lipschitz constant of these latents, a lower bound of the true one; no standard error."""
    return ProbeEstimate(float(_steepest(grams).max()))


def step_scale(constant: ProbeEstimate, change: float) -> float:
    """Return the step of the whitened latent that changes the action by at most `change`, to first order.

    The change is an RMS in half action boxes; the constant is that of `lipschitz`. `UserError`: one that is not above
    0.
    """
    if not (math.isfinite(change) and change > 0):
        raise UserError(f"a step scale expects a change of behavior above 0, but got {change}")
    if not (math.isfinite(constant.value) and constant.value > 0):
        raise UserError(
            f"a step scale expects a decoder that heeds its latent, but its Lipschitz constant is {constant.value}"
        )
    return change / constant.value


def _steepest(grams: Grams) -> Float[Tensor, " points"]:
    return torch.linalg.eigvalsh(grams)[:, -1].clamp_min(0).sqrt()
