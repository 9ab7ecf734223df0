"""Statistics of learning curves: arrays in, numbers out.

References:
    Permutation test: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 15.
"""

from __future__ import annotations

import functools

import numpy as np
from jaxtyping import Float, Shaped
from scipy.stats import permutation_test, trim_mean

from lightning_pz.common.statistics import quotient

_Steps = Shaped[np.ndarray, " evaluations"]
_Returns = Float[np.ndarray, " evaluations"]


def on_grid(steps: _Steps, returns: _Returns, grid: Shaped[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
    """Return the curve at the grid's steps: the last evaluation until each, not interpolated; NaN before the first."""
    place = np.searchsorted(steps, grid, side="right") - 1
    return np.where(place >= 0, returns[np.maximum(place, 0)], np.nan)


def normalize(returns: Float[np.ndarray, "..."], floor: float, best: float) -> Float[np.ndarray, "..."]:
    """Return scores: 0 at the floor, 1 at the best known return, not cut at either end.

    All are 0 where the best known return is the floor, but for rounding, or lies below it.
    """
    scale = quotient(1.0, best - floor, max(abs(best), abs(floor)))
    return np.zeros_like(returns) if np.isnan(scale) else (returns - floor) * scale


def area(steps: _Steps, scores: _Returns, horizon: int) -> float:
    """Return the area under a step curve of scores up to the horizon, over the horizon.

    It is the mean score of the incumbent over the budget, 1 for a run that has the best known return from the first
    step. Before the first evaluation there is no incumbent, and the score is 0, that of the floor: steps that an
    algorithm spends before it has a policy to show are not free. The horizon, in environment steps, is above 0.
    """
    edges = np.minimum(np.append(steps, horizon), horizon)
    return float((scores * np.diff(edges)).sum() / horizon)


def steps_to_reach(steps: _Steps, returns: _Returns, threshold: float, horizon: int) -> float:
    """Return the environment steps of the first evaluation at or above the threshold; infinity (censored) if none is."""
    reached = (returns >= threshold) & (steps <= horizon)
    return float(steps[np.argmax(reached)]) if reached.any() else float("inf")


def permutation_p(
    one: Float[np.ndarray, " ours"], other: Float[np.ndarray, " theirs"], seed: int, cut: float = 0.25
) -> float:
    """Return the two-sided p-value of a difference in trimmed means if the contenders were exchangeable.

    Exact for few runs, and for returns of any shape. A single run says nothing about its spread, and gives 1. A quarter
    is cut off at either end by default, which leaves interquartile means; without `cut` they are plain ones.
    """
    if min(len(one), len(other)) < 2:
        return 1.0

    def difference(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return np.asarray(trim_mean(x, cut, axis=axis) - trim_mean(y, cut, axis=axis))

    generator = np.random.default_rng(seed)
    return float(permutation_test((one, other), difference, vectorized=True, n_resamples=9999, rng=generator).pvalue)


@functools.cache
def least_p(ours: int, theirs: int, cut: float = 0.25) -> float:
    """Return the p-value that so many runs give where every run of one is above every run of the other."""
    return permutation_p(np.arange(ours) + 2.0 * (ours + theirs), np.arange(theirs) + 0.0, 0, cut)
