"""What a compressed policy is worth: returns with intervals, against the original on the same episodes."""

from __future__ import annotations

from lightning_pz.intervals import Returns, interval, mean_interval


def kept_interval(returns: Returns, original: Returns, seed: int = 0) -> tuple[float, float, float] | None:
    """Return the share of the original's mean return that is kept, with its interval; episodes are resampled in pairs.

    None where the original's returns are not clearly above 0, for a share means nothing then.
    """
    low = mean_interval(original, seed=seed)[1]
    if not low > 0:
        return None
    share = float(returns.mean() / original.mean())
    return share, *interval((returns, original), lambda a, b, axis: a.mean(axis) / b.mean(axis), seed=seed)


def difference_interval(returns: Returns, original: Returns, seed: int = 0) -> tuple[float, float, float]:
    """Return the mean return minus the original's, with its interval; episodes are resampled in pairs."""
    return mean_interval(returns - original, seed=seed)
