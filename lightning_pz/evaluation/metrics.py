"""Recovery metrics with their intervals: arrays of returns in, numbers out.

Returns have one row per policy and one column per episode; every policy plays the same episode seeds. A policy
with an invalid episode (NaN) is left out of every metric; callers count those.

References:
    The ratios are those of Tenedini et al., arXiv 2509.22566, with the two readings of "recovery" kept apart.
    Percentile bootstrap: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13. That of a maximum
    cannot exceed the maximum that was seen, so intervals of the best are short at the top. It resamples policies, so that
    it does not show what the noise of few episodes adds to both maxima of `recovery_best`; `recovery_best_fresh` does.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from scipy.stats import wasserstein_distance

from lightning_pz.common.statistics import UNKNOWN, Estimate, mean_interval, percentiles, quotient, share, widened

_Returns = Float[np.ndarray, "_ episodes"]
_Played = Float[np.ndarray, "policies episodes"]
_Means = Float[np.ndarray, " _"]
_Episodes = Float[np.ndarray, " episodes"]

RECOVERY_METRICS = (
    "recovery_best", "recovery_range", "reconstruction_gap", "best_own_return", "wasserstein",
    "wasserstein_reconstructed", "best_in_pool", "best_latent", "best_random",
)  # fmt: skip
"""Names of what `recovery` returns, in the order of tables."""
METRIC_LABELS = {
    "recovery_best": "recovery of the best", "recovery_range": "recovery of the range",
    "reconstruction_gap": "gap by encode-decode", "best_own_return": "  return before it",
    "wasserstein": "Wasserstein, latents", "wasserstein_reconstructed": "Wasserstein, decoded",
    "best_in_pool": "best in pool", "best_latent": "best latent", "best_random": "best random",
    "recovery_best_fresh": "recovery of the best, fresh", "best_in_pool_fresh": "best in pool, fresh",
    "best_latent_fresh": "best latent, fresh",
}  # fmt: skip
"""What readers call each metric, those on fresh episodes included."""
BEST_FRESH = "recovery_best_fresh"
"""Name of `recovery_best` on fresh episodes, in summaries and tables."""
_RESAMPLED = ("pool", "latents", "random")


def recovery_best(pool: _Means, decoded: _Means) -> float:
    """Return `(best decoded - floor) / (best in pool - floor)`, floor the pool's median; NaN if none exceeds it."""
    floor = float(np.median(pool))
    return quotient(float(decoded.max()) - floor, float(pool.max()) - floor, _size(pool))


def recovery_best_fresh(pool: _Episodes, decoded: _Episodes, floor: _Episodes) -> Estimate:
    """Return `recovery_best` of the two winners from episodes that chose neither, with Fieller's interval over these.

    Both of its maxima gain by luck on the episodes that chose them, the more the noisier episodes are, until the ratio is
    1 whatever the policies are worth. Here each is a mean that chose nothing, of the policies that were chosen: where few
    episodes choose badly, it is below the ratio of the true best if latents differ less than the pool. Unknown where an
    episode is invalid, or where the pool's winner is not clearly above the floor.

    Args:
        pool: Returns of the pool's winner.
        decoded: Returns of the winner among decoded latents on the same episodes.
        floor: Returns of the pool's middle on them.
    """
    return share(decoded - floor, pool - floor) or UNKNOWN


def recovery_range(pool: _Means, decoded: _Means) -> float:
    """Return `(max - min) of decoded returns / (max - min) of the pool's`; NaN where all of it earn the same."""
    return quotient(float(np.ptp(decoded)), float(np.ptp(pool)), _size(pool))


def reconstruction_gap(own: _Played, rebuilt: _Played, count: int = 50) -> tuple[float, float]:
    """Return what the pool's best policies gain or lose when encoded and decoded, and what they earn themselves.

    The gap is the mean over the `count` best policies of (return after encode-decode - own return). With two episodes
    or more, the best are chosen by one half of the episodes and measured on the other, both ways: chosen and measured
    on the same episodes, lucky policies would seem to lose what was luck. Rebuilt policies play the same episodes.
    """
    even, odd = slice(0, None, 2), slice(1, None, 2)
    folds = [(even, odd), (odd, even)] if own.shape[1] > 1 else [(even, even)]
    gaps, earned = [], []
    for chosen_by, measured_on in folds:
        best = np.argsort(-own[:, chosen_by].mean(1), kind="stable")[:count]
        gaps.append((rebuilt[best][:, measured_on] - own[best][:, measured_on]).mean())
        earned.append(own[best][:, measured_on].mean())
    return float(np.mean(gaps)), float(np.mean(earned))


def wasserstein(pool: _Means, decoded: _Means) -> float:
    """Return the 1-Wasserstein distance between two sets of returns over the range of the pool's; 0 is the same."""
    return quotient(float(wasserstein_distance(pool, decoded)), float(np.ptp(pool)), _size(pool))


def _size(returns: _Means) -> float:
    """Return how large returns are, for what rounding makes of them."""
    return float(np.abs(returns).max())


def recovery(groups: Mapping[str, _Returns], count: int = 50) -> dict[str, float]:
    """Return all metrics of one task, from returns of the groups without NaN; `count` is of `reconstruction_gap`."""
    pool, rebuilt, latents, random = (groups[n].mean(1) for n in ("pool", "reconstructed", "latents", "random"))
    gap, earned = reconstruction_gap(groups["pool"], groups["reconstructed"], count)
    return {
        "recovery_best": recovery_best(pool, latents),
        "recovery_range": recovery_range(pool, latents),
        "reconstruction_gap": gap,
        "best_own_return": earned,
        "wasserstein": wasserstein(pool, latents),
        # A grid of latents is spread otherwise than the pool; the pool's own policies, decoded, are not.
        "wasserstein_reconstructed": wasserstein(pool, rebuilt),
        "best_in_pool": float(pool.max()),
        "best_latent": float(latents.max()),
        "best_random": float(random.max()),
    }


def drop_invalid(groups: Mapping[str, _Returns]) -> dict[str, _Returns]:
    """Leave out policies with an invalid episode; `pool` and `reconstructed` lose the same rows."""
    valid = {name: np.isfinite(returns).all(1) for name, returns in groups.items()}
    valid["pool"] = valid["reconstructed"] = valid["pool"] & valid["reconstructed"]
    return {name: returns[valid[name]] for name, returns in groups.items()}


def bootstrap(groups: Mapping[str, _Returns], draws: int, seed: int, count: int = 50) -> dict[str, np.ndarray]:
    """Return each metric of `recovery` on `draws` resamples of the policies, (draws,) each.

    The pool and its reconstructions are resampled together. Two training seeds with the same held-out policies and
    the same `seed` here see the same resamples of the pool.
    """
    generator = np.random.default_rng(seed)
    rows = []
    for _ in range(draws):
        picks = {name: generator.integers(len(groups[name]), size=len(groups[name])) for name in _RESAMPLED}
        picks["reconstructed"] = picks["pool"]
        rows.append(recovery({name: returns[picks[name]] for name, returns in groups.items()}, count))
    return {name: np.array([row[name] for row in rows]) for name in RECOVERY_METRICS}


def over_seeds(values: Float[np.ndarray, " seeds"], draws: Float[np.ndarray, "seeds draws"]) -> Estimate:
    """Return the mean over training seeds with its 95 % interval over seeds and policies, below four seeds their range.

    Student's interval over the seeds, widened by the bootstrap over policies: seeds of one pool share its held-out
    policies, and their spread does not show how much depends on these. With a pool for each seed it is somewhat wide.
    """
    low, high = percentiles(draws.mean(0))
    return widened(mean_interval(values), float(values.mean()), float(low), float(high))
