"""What a compressed policy is worth: returns with intervals, against the original on the same episodes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.stats import bootstrap

Returns = Float[np.ndarray, " episodes"]
_DRAWS = 10_000


def mean_interval(returns: Returns, seed: int = 0) -> tuple[float, float, float]:
    """Return the mean over episodes and its 95 % percentile bootstrap interval."""
    return float(returns.mean()), *_interval((returns,), lambda a, axis: a.mean(axis), seed)


def kept_interval(returns: Returns, original: Returns, seed: int = 0) -> tuple[float, float, float] | None:
    """Return the share of the original's mean return that is kept, with its interval; episodes are resampled in pairs.

    None where the original's returns are not clearly above 0, for a share means nothing then.
    """
    low = mean_interval(original, seed)[1]
    if low <= 0:
        return None
    share = float(returns.mean() / original.mean())
    return share, *_interval((returns, original), lambda a, b, axis: a.mean(axis) / b.mean(axis), seed)


def difference_interval(returns: Returns, original: Returns, seed: int = 0) -> tuple[float, float, float]:
    """Return the mean return minus the original's, with its interval; episodes are resampled in pairs."""
    return mean_interval(returns - original, seed)


def _interval(samples: tuple[np.ndarray, ...], statistic: Callable[..., np.ndarray], seed: int) -> tuple[float, float]:
    found = bootstrap(
        samples, statistic, n_resamples=_DRAWS, paired=len(samples) > 1, vectorized=True, method="percentile",
        rng=np.random.default_rng(seed), batch=1000,
    ).confidence_interval  # fmt: skip
    return float(found.low), float(found.high)
