"""Intervals of means over few runs and over many episodes: arrays in, numbers out.

Every interval of a mean is one of Student's kind, which covers the truth about as often as it says from four numbers
on (`python -m sweeps coverage` measures it). The percentile bootstrap does not: of a mean over five normal numbers it
covers 83 % where 95 % was meant. Two or three numbers, whose Student interval says nothing, have a range; one has neither.

References:
    Interquartile mean: Agarwal, Schwarzer, Castro, Courville and Bellemare, Deep Reinforcement Learning at the Edge of
    the Statistical Precipice, NeurIPS 2021. Interval of a trimmed mean by its winsorized variance: Tukey and
    McLaughlin, Sankhya A 25, 1963. Degrees of freedom of a sum of variances: Welch, Biometrika 34, 1947. Ratio of two
    means: Fieller, Journal of the Royal Statistical Society B 16, 1954. Two independent sources of error in one
    interval: Zou and Donner, Statistics in Medicine 27, 2008.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import stdtr, stdtrit
from scipy.stats import trim_mean

Numbers = np.ndarray | np.number  # arrays, and what numpy makes of arrays of no dimension
LEVEL = 0.95
FEWEST = 4  # numbers from which on a mean has an interval; fewer have a range
STUDENT, RANGE, BOOTSTRAP, NONE = "student", "range", "bootstrap", "none"
"""Kinds of what stands beside a number: a 95 % interval by Student's t, the lowest and highest number, a 95 % interval
by percentiles over a resampled population, or nothing."""
_NORMAL_COST = 1.19  # variance of the interquartile mean over that of the mean, for normal numbers
_ROUNDING = 1e-9


class Estimate(NamedTuple):
    """A number, its ends and their kind, in the number's own unit; the ends are NaN where there are none."""

    value: float
    low: float
    high: float
    kind: str

    def ends(self, form: str) -> str:
        """Return the ends to stand behind the number: ` [low, high]` for an interval, ` (low to high)` for a range."""
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            return ""
        low, high = format(self.low, form), format(self.high, form)
        return f" ({low} to {high})" if self.kind == RANGE else f" [{low}, {high}]"

    def scaled(self, factor: float) -> Estimate:
        """Return it in another unit, such as percent."""
        return Estimate(factor * self.value, factor * self.low, factor * self.high, self.kind)

    def keys(self, name: str) -> dict[str, float | str | None]:
        """Return flat keys of a summary: `name`, with `_low`, `_high`, and the kind as `_interval`; NaN becomes None."""
        numbers = zip(("", "_low", "_high"), self[:3], strict=True)
        return {f"{name}{end}": x if math.isfinite(x) else None for end, x in numbers} | {f"{name}_interval": self.kind}


UNKNOWN = Estimate(math.nan, math.nan, math.nan, NONE)


def read_estimate(summary: Mapping[str, Any], name: str) -> Estimate | None:
    """Return what `Estimate.keys` wrote, or None where there is no number; earlier versions told no kind."""
    value, low, high = (summary.get(f"{name}{end}") for end in ("", "_low", "_high"))
    if value is None:
        return None
    if low is None or high is None:
        return UNKNOWN._replace(value=float(value))
    return Estimate(float(value), float(low), float(high), summary.get(f"{name}_interval", BOOTSTRAP))


class Spread(NamedTuple):
    """An interquartile mean with its standard error and degrees of freedom, each (...); NaN for single runs."""

    value: Numbers
    error: Numbers
    freedom: Numbers


def ends_are(kinds: Collection[str], form: str = "{}") -> str:
    """Return in words what the ends of several numbers are, in a caption's form; empty where there are none."""
    interval, span = bool({STUDENT, BOOTSTRAP} & set(kinds)), RANGE in kinds
    both = f"95 % interval, of fewer than {FEWEST} the range"
    words = both if interval and span else "95 % interval" if interval else "range"
    return form.format(words) if interval or span else ""


def mean_interval(values: Float[np.ndarray, " numbers"]) -> Estimate:
    """Return the mean with its Student interval, below four numbers with their range; no ends where one is not finite."""
    mean, count = float(values.mean()), len(values)
    if not np.isfinite(values).all() or count < 2:
        return Estimate(mean, math.nan, math.nan, NONE)
    if count < FEWEST:
        return Estimate(mean, float(values.min()), float(values.max()), RANGE)
    half = float(_quantile(count - 1) * values.std(ddof=1) / math.sqrt(count))
    return Estimate(mean, mean - half, mean + half, STUDENT)


def percentiles(draws: Float[np.ndarray, "draws ..."]) -> tuple[np.ndarray, np.ndarray]:
    """Return the 2.5 and 97.5 % quantiles of draws over the first axis; NaN where a draw is.

    Of bootstrap draws only where hundreds were resampled, such as policies: over few runs they lie too close.
    """
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return np.asarray(low), np.asarray(high)


def widened(estimate: Estimate, center: float, low: float, high: float) -> Estimate:
    """Return a Student interval widened by a second, independent source of error, given as an interval about `center`.

    Distances to either end add in squares, so that the second interval may be lopsided. A range stays as it is. Without a second
    interval there is none, for that of the first source alone would be too narrow.
    """
    if estimate.kind != STUDENT:
        return estimate
    if not np.isfinite([center, low, high]).all():
        return Estimate(estimate.value, math.nan, math.nan, NONE)
    down = math.hypot(estimate.value - estimate.low, max(0.0, center - low))
    up = math.hypot(estimate.high - estimate.value, max(0.0, high - center))
    return estimate._replace(low=estimate.value - down, high=estimate.value + up)


def share(part: Float[np.ndarray, " pairs"], whole: Float[np.ndarray, " pairs"]) -> Estimate | None:
    """Return the mean of `part` over the mean of `whole` with Fieller's interval, or below four pairs the range of ratios.

    None where the mean of `whole` is not clearly above 0: a share of nothing, or of a loss, means nothing.
    """
    below = mean_interval(whole)
    if not (below.low > 0 and np.isfinite(part).all()):
        return None
    value = float(part.mean() / whole.mean())
    if below.kind == RANGE:
        ratios = part / whole
        return Estimate(value, float(ratios.min()), float(ratios.max()), RANGE)
    # The shares for which `part - share * whole` has 0 in its Student interval, between the roots of a parabola.
    reach = _quantile(len(whole) - 1) ** 2 / len(whole)
    (xx, xy), (_, yy) = np.cov(part, whole)
    square = whole.mean() ** 2 - reach * yy
    middle = (part.mean() * whole.mean() - reach * xy) / square
    half = math.sqrt(max(0.0, middle**2 - (part.mean() ** 2 - reach * xx) / square))
    return Estimate(value, float(middle - half), float(middle + half), STUDENT)


def quotient(part: float, whole: float, size: float) -> float:
    """Return `part / whole`, or NaN where `whole` is not above what rounding makes of numbers as large as `size`."""
    return part / whole if whole > _ROUNDING * abs(size) else math.nan


def iqm(values: Float[np.ndarray, "runs ..."]) -> np.ndarray:
    """Return the interquartile mean over the first axis: the mean after a quarter is cut off at either end.

    The number cut off is rounded down, so that fewer than four runs give the plain mean. NaN where any value is.
    """
    # Not every version of trim_mean hands NaN on; sorted to the end, it would be trimmed as if it were the best.
    return np.where(np.isnan(values).any(axis=0), np.nan, trim_mean(values, 0.25, axis=0))


def interquartile(strata: Sequence[Float[np.ndarray, "_ ..."]]) -> tuple[Numbers, Numbers, Numbers, str]:
    """Return the interquartile mean over the runs of all strata, (runs, ...) each, with its ends and their kind."""
    everything = np.concatenate(list(strata))
    value, error, freedom = spread(strata)
    if len(everything) - len(strata) >= FEWEST - 1:
        half = _quantile(freedom) * error
        return value, value - half, value + half, STUDENT
    if len(strata) == 1 and len(everything) > 1:
        # A NaN of one run hides the range, as it hides the mean.
        hidden = np.where(np.isnan(value), np.nan, 0.0)
        return value, everything.min(axis=0) + hidden, everything.max(axis=0) + hidden, RANGE
    return value, np.full_like(value, np.nan), np.full_like(value, np.nan), NONE


def estimate(strata: Sequence[Float[np.ndarray, " _"]]) -> Estimate:
    """Return the interquartile mean over all runs with its interval or range; see `interquartile`."""
    value, low, high, kind = interquartile(strata)
    return Estimate(float(value), float(low), float(high), kind)


def spread(strata: Sequence[Float[np.ndarray, "_ ..."]]) -> Spread:
    """Return the interquartile mean over the runs of all strata with its standard error.

    The winsorized variance within each stratum tells it, with one degree of freedom less than there are runs between
    the quartiles. Of one stratum the plain variance tells it too, and what gives the wider interval stands: few runs
    between the quartiles tell little, and two-peaked returns vary more than their plain variance says.
    """
    everything = np.concatenate(list(strata))
    value = iqm(everything)
    return Spread(value, *_error([_winsorized(s, everything) for s in strata], strata if len(strata) == 1 else None))


def probability_above(one: Float[np.ndarray, " ours"], other: Float[np.ndarray, " theirs"], paired: bool) -> float:
    """Return how sure it is that one contender's interquartile mean exceeds the other's, 0.5 if they are equal.

    It is the level of the one-sided Student interval of the difference that ends at 0; NaN if one has a single run.
    Runs are `paired` if they belong together one by one (the same seeds).
    """
    if min(len(one), len(other)) < 2:
        return math.nan
    ahead = float(iqm(one) - iqm(other))
    if paired:
        apart = [_winsorized(one, one), _winsorized(other, other)]
        error, freedom = _error([(apart[0][0] - apart[1][0], apart[0][1])], [one - other])
    else:
        ours, theirs = spread([one]), spread([other])
        error, freedom = _sum([ours.error**2, theirs.error**2], [ours.freedom, theirs.freedom])
    return float(stdtr(freedom, ahead / error)) if error > 0 else 0.5 + 0.5 * float(np.sign(ahead))


def _winsorized(runs: np.ndarray, everything: np.ndarray) -> tuple[np.ndarray, Numbers]:
    """Return what each run adds to the interquartile mean, (runs, ...), and how many lie between the quartiles, (...)."""
    ordered = np.sort(everything, axis=0)
    cut = len(everything) // 4
    low, high = ordered[cut], ordered[-cut - 1]
    between = ((runs >= low) & (runs <= high)).sum(axis=0)
    return np.clip(runs, low, high) / (len(everything) - 2 * cut), between


def _error(added: Sequence[tuple[np.ndarray, Numbers]], plain: Sequence[np.ndarray] | None) -> tuple[Numbers, Numbers]:
    """Return standard error and degrees of freedom from what the runs of each stratum add; see `spread`."""
    variances = [len(w) * _variance(w) for w, _ in added]
    error, freedom = _sum(variances, [np.maximum(between - 1.0, 1.0) for _, between in added])
    if plain is None:
        return error, freedom
    runs = plain[0]
    count, cut = len(runs), len(runs) // 4
    other = np.sqrt((_NORMAL_COST if cut else 1.0) * _variance(runs) / count)
    if count - 2 * cut < FEWEST:
        return other, np.full_like(other, max(count - 1.0, 1.0))
    wider = _quantile(count - 1) * other > _quantile(freedom) * error
    return np.where(wider, other, error), np.where(wider, count - 1.0, freedom)


def _variance(runs: np.ndarray) -> Numbers:
    return runs.var(axis=0, ddof=1) if len(runs) > 1 else np.full(runs.shape[1:], np.nan)


def _sum(variances: Sequence[Numbers], freedoms: Sequence[Numbers]) -> tuple[Numbers, Numbers]:
    """Return the root of summed variances and Welch's degrees of freedom of the sum."""
    total = np.asarray(sum(variances))
    squares = np.asarray(sum(v**2 / f for v, f in zip(variances, freedoms, strict=True)))
    largest = np.asarray(sum(freedoms), float)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.sqrt(total), np.where(squares > 0, np.minimum(total**2 / squares, largest), largest)


def _quantile(freedom: Numbers | float | int) -> np.ndarray:
    return np.asarray(stdtrit(freedom, (1 + LEVEL) / 2))
