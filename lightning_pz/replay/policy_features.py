"""Numbers that every policy of a grown pool is known by, and a ridge regression of returns on them.

A return is the sum of rewards over the states that a policy visits. So whatever a reward is, the mean over an episode of
features of its states predicts the return linearly if the reward is linear in these features: they are successor features.

References:
    Barreto et al. 2017, Successor Features for Transfer in Reinforcement Learning. Allen 1974, The Relationship between
    Variable Selection and Data Augmentation and a Method for Prediction (leave-one-out errors of a ridge regression).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from lightning_pz.envs.forward import one_blas_thread
from lightning_pz.pool.store import Pool

_CENTERS = (-2.0, -1.0, 0.0, 1.0, 2.0)
"""Of bumps `exp(-(x - c)^2)` over one coordinate of a visited state, in its standard deviations."""
_PRODUCTS = 24
"""Most principal outcomes whose products are features."""
_PENALTIES = 10.0 ** np.arange(-5, 2.5, 0.5)

Features = Float[np.ndarray, "policies features"]


def policy_features(pool: Pool) -> Features:
    """Return features of all policies, (N, F) float32, each block of them of about unit length.

    Outcomes; their products; the mean over a policy's kept states of bumps along every coordinate, and the same times the
    length of the episode where lengths differ; returns on the tasks that the pool knows.
    """
    outcomes, principal = _standardized(pool.arrays["outcomes"].astype(np.float64)), principal_outcomes(pool, _PRODUCTS)
    first, second = np.triu_indices(principal.shape[1])
    states = pool.arrays["visited"].astype(np.float64)
    flat = _standardized(states.reshape(-1, states.shape[-1])).reshape(states.shape)
    bumps = np.concatenate([np.exp(-np.square(flat - center)).mean(1) for center in _CENTERS], axis=1)
    returns = np.nan_to_num(pool.arrays["returns"].astype(np.float64), nan=0, posinf=0, neginf=0)
    blocks = [outcomes, principal[:, first] * principal[:, second], bumps, returns]
    if np.ptp(pool.arrays["lengths"]):
        blocks.append(bumps * pool.arrays["lengths"][:, None])
    scaled = [_standardized(block) / np.sqrt(block.shape[1]) for block in blocks if block.shape[1]]
    return np.concatenate(scaled, axis=1).astype(np.float32)


def principal_outcomes(pool: Pool, count: int) -> Float[np.ndarray, "policies principal"]:
    """Return where policies lie along the principal axes of their standardized outcomes, at most `count`, the widest first."""
    outcomes = _standardized(pool.arrays["outcomes"].astype(np.float64))
    with one_blas_thread():  # sums do not depend on how many cores there are
        _, axes = np.linalg.eigh(outcomes.T @ outcomes)
        return outcomes @ axes[:, ::-1][:, :count]


@dataclass(frozen=True)
class RidgeFit:
    """Returns of all policies as far as those of some tell them."""

    predicted: Float[np.ndarray, " policies"]  # in the unit of the returns
    explained: (
        float  # share of the variance of the known returns, each predicted without itself; 1 if they are all equal
    )


def ridge_regression(
    features: Features, rows: Int[np.ndarray, " known"], returns: Float[np.ndarray, " known"]
) -> RidgeFit:
    """Predict the returns of all N policies from those of n, with the penalty of the least leave-one-out error.

    Features are (N, F); rows, (n,), are the policies whose returns, (n,), are known. The level of the returns has no
    penalty. Penalties from 1e-5 to 1e2 are tried, two a decade, on features in blocks of about unit length. The error
    of row i, were it left out, is `e_i / (1 - h_i)`, with its residual e_i and its leverage h_i, the diagonal of the
    matrix that takes known returns to predicted ones: one decomposition serves all rows and penalties.

    References:
        Allen 1974, as above; Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, 2009, section 7.10.
    """
    known = features[rows].astype(np.float64)
    middle, level = known.mean(0), returns.mean()
    with one_blas_thread():
        left, singular, right = np.linalg.svd(known - middle, full_matrices=False)
        errors, across = returns - level, left.T @ (returns - level)
        best = (np.inf, 1.0)
        for penalty in _PENALTIES:
            kept = np.square(singular) / (np.square(singular) + penalty)
            leverage = 1 / len(rows) + np.square(left) @ kept
            residual = (errors - left @ (kept * across)) / np.maximum(1 - leverage, 1e-9)
            best = min(best, (float(np.square(residual).mean()), float(penalty)))
        weights = right.T @ (singular / (np.square(singular) + best[1]) * across)
        predicted = (features - middle.astype(np.float32)) @ weights.astype(np.float32) + level
    variance = float(np.square(errors).mean())
    return RidgeFit(predicted.astype(np.float64), 1 - best[0] / variance if variance > 0 else 1.0)


def _standardized(values: np.ndarray) -> np.ndarray:
    spread = values.std(0)
    # A coordinate that is constant, but for rounding, says nothing.
    still = spread <= 1e-9 * np.maximum(np.abs(values).max(0), 1)
    return np.where(still, 0, values - values.mean(0)) / np.where(still, 1, spread)
