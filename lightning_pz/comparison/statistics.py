"""Statistics of curves: arrays in, numbers out.

References:
    Interquartile mean and stratified bootstrap: Agarwal, Schwarzer, Castro, Courville and Bellemare, Deep
    Reinforcement Learning at the Edge of the Statistical Precipice, NeurIPS 2021. Percentile interval: Efron and
    Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13. Permutation test: the same, chapter 15.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped
from scipy.stats import permutation_test, trim_mean

from lightning_pz.intervals import percentiles

_CHUNK = 4_000_000  # numbers that one round of resampling may hold: 32 MB


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval, in the number's own unit; NaN for the ends that one run cannot tell."""

    value: float
    low: float
    high: float


def on_grid(
    steps: Shaped[np.ndarray, " evaluations"],
    returns: Float[np.ndarray, " evaluations"],
    grid: Shaped[np.ndarray, " points"],
) -> Float[np.ndarray, " points"]:
    """Return the curve at the grid's steps: the last evaluation before or at each, NaN before the first.

    No value is interpolated: between two evaluations the earlier incumbent stands.

    Args:
        steps: Environment steps of the evaluations, ascending.
        returns: Their returns.
        grid: Environment steps to look at.
    """
    place = np.searchsorted(steps, grid, side="right") - 1
    return np.where(place >= 0, returns[np.maximum(place, 0)], np.nan)


def iqm(values: Float[np.ndarray, "runs ..."]) -> np.ndarray:
    """Return the interquartile mean over the first axis: the mean after a quarter is cut off at either end.

    The number cut off is rounded down, so that fewer than four runs give the plain mean. NaN where any value is.
    """
    # Not every version of trim_mean hands NaN on; sorted to the end, it would be trimmed as if it were the best.
    return np.where(np.isnan(values).any(axis=0), np.nan, trim_mean(values, 0.25, axis=0))


def resampled_iqm(strata: Sequence[Float[np.ndarray, "_ ..."]], draws: int, seed: int) -> np.ndarray:
    """Return interquartile means of stratified bootstrap resamples, (draws, ...).

    Each stratum (the runs of one task) is resampled by itself, so that each task keeps its number of runs; the
    interquartile mean is over the runs of all strata together.

    Args:
        strata: Values of each stratum, (runs, ...); runs may differ in number, the rest of the shape may not.
        draws: Resamples.
        seed: Seed of the resampling.
    """
    generator = np.random.default_rng(seed)
    size = max(1, sum(stratum.size for stratum in strata))
    chunk = max(1, _CHUNK // size)
    means = []
    for begin in range(0, draws, chunk):
        count = min(chunk, draws - begin)
        picks = [generator.integers(len(stratum), size=(len(stratum), count)) for stratum in strata]
        means.append(iqm(np.concatenate([s[p] for s, p in zip(strata, picks, strict=True)])))
    return np.concatenate(means)


def estimate(strata: Sequence[Float[np.ndarray, " _"]], draws: int, seed: int) -> Estimate:
    """Return the interquartile mean over all runs with its stratified bootstrap interval.

    Where every stratum has a single run, nothing is known of the spread over seeds, and there is no interval.
    """
    value = float(iqm(np.concatenate(list(strata))))
    if max(len(stratum) for stratum in strata) < 2:
        return Estimate(value, float("nan"), float("nan"))
    low, high = percentiles(resampled_iqm(strata, draws, seed))
    return Estimate(value, float(low), float(high))


def normalize(returns: Float[np.ndarray, "..."], floor: float, best: float) -> Float[np.ndarray, "..."]:
    """Return scores: 0 at the floor, 1 at the best known return, not cut at either end; 0 if the two are equal."""
    return (returns - floor) / (best - floor) if best > floor else np.zeros_like(returns)


def area(steps: Shaped[np.ndarray, " evaluations"], scores: Float[np.ndarray, " evaluations"], horizon: int) -> float:
    """Return the area under a step curve of scores up to the horizon, over the horizon.

    It is the mean score of the incumbent over the budget, 1 for a run that has the best known return from the first
    step. Before the first evaluation there is no incumbent, and the score is 0, that of the floor: steps that an
    algorithm spends before it has a policy to show are not free.

    Args:
        steps: Environment steps of the evaluations, ascending.
        scores: Normalized returns.
        horizon: Environment steps, above 0; later evaluations do not count.
    """
    edges = np.minimum(np.append(steps, horizon), horizon)
    return float((scores * np.diff(edges)).sum() / horizon)


def steps_to_reach(
    steps: Shaped[np.ndarray, " evaluations"],
    returns: Float[np.ndarray, " evaluations"],
    threshold: float,
    horizon: int,
) -> float:
    """Return the environment steps of the first evaluation at or above the threshold; infinity if none is.

    Infinity marks a censored run: it may be ranked and counted, never averaged.
    """
    reached = (returns >= threshold) & (steps <= horizon)
    return float(steps[np.argmax(reached)]) if reached.any() else float("inf")


def probability_above(
    one: Float[np.ndarray, " ours"], other: Float[np.ndarray, " theirs"], paired: bool, draws: int, seed: int
) -> float:
    """Return the bootstrap probability that one contender's interquartile mean exceeds the other's; ties count half.

    Args:
        one: A number per run.
        other: The same of the other contender.
        paired: Whether the runs belong together one by one (the same seeds), and are drawn together.
        draws: Resamples.
        seed: Seed of the resampling.
    """
    if paired:
        both = resampled_iqm([np.stack([one, other], axis=1)], draws, seed)
        ours, theirs = both[:, 0], both[:, 1]
    else:
        # Two seeds, for the same picks in both would pair runs that do not belong together.
        ours, theirs = resampled_iqm([one], draws, seed), resampled_iqm([other], draws, seed + 1)
    return float((ours > theirs).mean() + 0.5 * (ours == theirs).mean())


def permutation_p(one: Float[np.ndarray, " ours"], other: Float[np.ndarray, " theirs"], seed: int) -> float:
    """Return the two-sided p-value of a difference in interquartile means if the contenders were exchangeable.

    Exact for few runs. The percentile bootstrap alone calls a difference too readily: of two equal contenders with
    three runs each it would call a winner in one comparison of six, where one of twenty was meant. A single run
    says nothing about its spread, and gives 1.
    """
    if min(len(one), len(other)) < 2:
        return 1.0

    def difference(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return np.asarray(trim_mean(x, 0.25, axis=axis) - trim_mean(y, 0.25, axis=axis))

    generator = np.random.default_rng(seed)
    found = permutation_test((one, other), difference, vectorized=True, n_resamples=9999, rng=generator)
    return float(found.pvalue)


@functools.cache
def least_p(ours: int, theirs: int) -> float:
    """Return the p-value that so many runs give where every run of one is above every run of the other."""
    return permutation_p(np.arange(ours) + 2.0 * (ours + theirs), np.arange(theirs) + 0.0, 0)
