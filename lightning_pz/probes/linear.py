"""Linear references for FVU: PCA on actions, PCA on parameters, affine policies."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

_Rows = Float[Tensor, "rows features"]
_HeldOut = Float[Tensor, "held_out features"]


def principal_axes(rows: _Rows, components: int) -> tuple[Float[Tensor, " features"], Float[Tensor, "axes features"]]:
    """Return mean and leading principal axes of some rows, in double precision, by the smaller Gram matrix."""
    rows = rows.double()
    mean = rows.mean(0)
    centered = rows - mean
    if centered.shape[0] >= centered.shape[1]:
        axes = torch.linalg.eigh(centered.T @ centered).eigenvectors.flip(1)[:, :components].T
    else:
        values, vectors = torch.linalg.eigh(centered @ centered.T)
        values, vectors = values.flip(0)[:components], vectors.flip(1)[:, :components]
        kept = values > values[0].clamp_min(1e-300) * 1e-12
        axes = (vectors[:, kept].T @ centered) / values[kept].sqrt()[:, None]
    return mean, axes


def pca_fvu(train: _Rows, held_out: _HeldOut, components: list[int]) -> dict[int, float]:
    """Return by k the FVU of held-out policies, rebuilt from the k leading principal components of training policies.

    Both act on the held-out states, so PCA has seen these states, as no decoder has: `train` are the actions of
    training policies there, (N, F), `held_out` those of other policies, (H, F), a policy a row, F the states times the
    numbers on each. With a_k the rebuilt row of a, and m the mean of the held-out rows, the FVU is
    `sum |a - a_k|^2 / sum |a - m|^2`; it is not finite if `held_out` does not vary.

    References:
        Pearson, "On lines and planes of closest fit to systems of points in space", 1901.
    """
    mean, axes = principal_axes(train, max(components))
    held = held_out.double()
    spread = (held - held.mean(0)).square().sum()
    scores = (held - mean) @ axes.T
    total = (held - mean).square().sum()
    explained = scores.square().sum(0).cumsum(0)
    left = (total - explained).clamp_min(0.0)  # of nothing, rounding leaves less
    return {k: float(left[min(k, len(explained)) - 1] / spread) for k in components}


def project(train: _Rows, held_out: _HeldOut, components: int) -> _HeldOut:
    """Return held-out rows rebuilt from the k leading principal components of training rows."""
    mean, axes = principal_axes(train, components)
    return (mean + (held_out.double() - mean) @ axes.T @ axes).float()


def affine_fvu(
    fit_states: Float[Tensor, "fit_states observation"],
    fit_actions: Float[Tensor, "policies fit_states action"],
    states: Float[Tensor, "states observation"],
    actions: Float[Tensor, "policies states action"],
) -> tuple[float, int]:
    """Return the FVU of the best affine policy for each policy, and how many numbers such a policy has.

    The actions of N policies on some states, (S, O) and (N, S, A), are fitted by least squares on `(s, 1)`, one fit a
    policy; FVU is that of their actions on other states, (T, O) and (N, T, A), against the mean policy there, and not
    finite if all act alike. The second value is `A (r + 1)`, r the rank of the centered states that are fitted:
    coordinates that depend on others need no numbers.
    """
    design = torch.cat([fit_states, torch.ones(len(fit_states), 1)], 1).double()
    unseen = torch.cat([states, torch.ones(len(states), 1)], 1).double()
    solution = torch.linalg.pinv(design) @ fit_actions.double()
    predicted = unseen @ solution
    target = actions.double()
    spread = (target - target.mean(0)).square().sum()
    rank = int(torch.linalg.matrix_rank(fit_states.double() - fit_states.double().mean(0)))
    return float((predicted - target).square().sum() / spread), actions.shape[-1] * (rank + 1)
