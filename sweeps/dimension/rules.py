"""Rules that turn errors of held-out policies at several latent sizes into a dimension with an interval.

Draws are paired: one resamples the held-out policies once for all latent sizes and runs, so that the difference between two
sizes is not drowned by which policies were drawn. Training seeds are too few to be resampled (the bootstrap of three covers
75 % where 95 % are meant): a draw weighs them so that the mean over seeds varies by Student's t.

References:
    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 8 (more than one sample) and 13 (percentiles).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Rule = Callable[[np.ndarray, Sequence[int]], np.ndarray]
"""From FVU, (..., K), and ascending latent sizes to a dimension, (...), infinity where no size will do."""


@dataclass(frozen=True)
class DimensionInterval:
    """A dimension with its 95 % interval; infinity where no latent size that was tried will do."""

    value: float  # on all policies and seeds
    low: float  # 2.5 % quantile over draws
    high: float  # 97.5 % quantile
    largest: int  # largest latent size that was tried
    before: int = 0  # the next smaller size that was tried, which was not enough; 0 if there was none

    def text(self) -> str:
        """Return it for a table; a size that was not reached is never a number."""
        value, low, high = (reached(number, self.largest) for number in (self.value, self.low, self.high))
        return value + (f" [{low}, {high}]" if low != high else f" [{low}]")


def reached(size: float, largest: int) -> str:
    """Return a latent size in words, infinity as more than the largest that was tried."""
    return f"{size:.0f}" if math.isfinite(size) else f"> {largest}" if largest else "unknown"


def mean_fvu(errors: Sequence[np.ndarray], spread: np.ndarray) -> np.ndarray:
    """Return the FVU of each latent size, its mean over training seeds, (K,).

    Args:
        errors: For each latent size the squared action errors, (seeds, policies).
        spread: The policies' squared deviations from the mean policy, (policies,).
    """
    return np.array([error.sum(1).mean() / spread.sum() for error in errors])


def draw_fvu(
    errors: Sequence[np.ndarray],
    spread: np.ndarray,
    *,
    joint: bool,
    draws: int,
    seed: int,
    climbs: np.ndarray | None = None,
) -> np.ndarray:
    """Return the FVU of each latent size on draws of policies and training seeds, (draws, K).

    Args:
        errors: As for `mean_fvu`, and so is `spread`.
        joint: One training gave all latent sizes, so that a seed is drawn for all of them; else for each on its own.
        seed: Of the draws; groups with the same policies and the same `seed` see the same resamples of them.
        climbs: Number of each policy's climb, (policies,), where whole climbs are held out and so are drawn; else every
            policy is drawn for itself. Of few climbs the interval is of these, and too narrow for others.
    """
    units = np.arange(len(spread)) if climbs is None else np.unique(climbs, return_inverse=True)[1]
    generator, count = np.random.default_rng(seed), int(units.max()) + 1
    policies = generator.multinomial(count, np.full(count, 1 / count), size=draws).astype(float)[:, units]
    shared: dict[int, np.ndarray] = {}
    columns = []
    for error in errors:
        runs = len(error)
        if not joint or runs not in shared:
            shared[runs] = student_weights(runs, draws, generator)
        columns.append(((policies @ error.T) * shared[runs]).sum(1) / (policies @ spread))
    return np.stack(columns, 1)


def student_weights(seeds: int, draws: int, generator: np.random.Generator) -> np.ndarray:
    """Return weights of training seeds, (draws, seeds), that sum to 1; a single seed always has weight 1.

    The weighted mean of any numbers is their mean plus their standard error times Student's t with seeds - 1 degrees of
    freedom, so that quantiles over draws are Student's interval.
    """
    if seeds == 1:
        return np.ones((draws, 1))
    normal = generator.standard_normal((draws, seeds))
    apart = (normal - normal.mean(1, keepdims=True)) / math.sqrt(seeds * (seeds - 1))
    return 1 / seeds + apart / np.sqrt(generator.chisquare(seeds - 1, (draws, 1)) / (seeds - 1))


def first_below(tau: float) -> Rule:
    """Return the rule of the behavior dimension: the smallest latent size whose FVU is at most tau."""
    return lambda values, sizes: _first(values <= tau, sizes)


def marginal(gain: float) -> Rule:
    """Return the marginal rule: the smallest size from which the next one gains less FVU per latent number than `gain`.

    The last size has no next one, so it is never the answer.
    """
    return lambda values, sizes: _first((values[..., :-1] - values[..., 1:]) / np.diff(sizes) < gain, sizes[:-1])


def decide_dimension(rule: Rule, values: np.ndarray, drawn: np.ndarray, sizes: Sequence[int]) -> DimensionInterval:
    """Return what a rule says of an FVU curve, (K,), with the interval over its draws, (draws, K)."""
    value = float(rule(values, sizes))
    # Quantiles that are themselves draws: between 64 and infinity there is nothing.
    low, high = np.quantile(rule(drawn, sizes), [0.025, 0.975], method="inverted_cdf")
    smaller = [size for size in sizes if size < value] if math.isfinite(value) else list(sizes)
    return DimensionInterval(value, float(low), float(high), max(sizes), max(smaller, default=0))


def _first(passed: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    if passed.shape[-1] == 0:
        return np.full(passed.shape[:-1], np.inf)
    return np.where(passed.any(-1), np.asarray(sizes, float)[passed.argmax(-1)], np.inf)
