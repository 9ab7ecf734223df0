"""Percentile bootstrap intervals, of draws that were made elsewhere or over episodes.

References:
    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.stats import bootstrap

Returns = Float[np.ndarray, " episodes"]
DRAWS = 10_000
LEVEL = 0.95


def mean_interval(returns: Returns, draws: int = DRAWS, seed: int = 0) -> tuple[float, float, float]:
    """Return the mean over episodes and its 95 % interval; NaN ends for one episode, or where one is not finite."""
    mean = float(returns.mean())
    if not np.isfinite(mean) or len(returns) < 2:
        return mean, float("nan"), float("nan")
    return mean, *interval((returns,), lambda a, axis: a.mean(axis), draws, seed)


def percentiles(draws: Float[np.ndarray, "draws ..."]) -> tuple[np.ndarray, np.ndarray]:
    """Return the 2.5 and 97.5 % quantiles of bootstrap draws over the first axis; NaN where a draw is."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return np.asarray(low), np.asarray(high)


def interval(
    samples: tuple[np.ndarray, ...], statistic: Callable[..., np.ndarray], draws: int = DRAWS, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % interval of a statistic of samples; episodes of several samples are resampled in pairs.

    Args:
        samples: Of equal length.
        statistic: Takes the samples and the axis of the episodes.
        draws: Resamples.
        seed: Of the resampling.
    """
    found = bootstrap(
        samples, statistic, n_resamples=draws, paired=len(samples) > 1, vectorized=True, method="percentile",
        rng=np.random.default_rng(seed), batch=1000,
    ).confidence_interval  # fmt: skip
    return float(found.low), float(found.high)
