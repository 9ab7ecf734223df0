"""Compares what contenders answer after some episodes: arrays of runs in, verdicts out.

References:
    Probability of improvement: Agarwal et al., Deep Reinforcement Learning at the Edge of the Statistical Precipice, 2021,
    section 4.3: P(X > Y) + P(X = Y) / 2 over all pairs of runs. Its interval: Newcombe, Confidence intervals for an effect
    size measure based on the Mann-Whitney statistic, part 2, Statistics in Medicine 25, 2006, method 5. A claim against
    each of several rivals as one test: Berger, Technometrics 24, 1982. Many claims: Holm, Scandinavian Journal of
    Statistics 6, 1979.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq
from scipy.special import ndtri

from lightning_pz.common.statistics import LEVEL, STUDENT, Estimate
from lightning_pz.comparison.curves import least_p, permutation_p

Runs = Mapping[str, Float[np.ndarray, " _"]]
"""Returns of each contender's runs."""


@dataclass(frozen=True)
class Rival:
    """One rival against our best contender."""

    name: str  # of the rival
    mean: float  # return
    lead: float  # of ours, in units of return
    p: float  # two-sided, of a permutation test of the lead; not corrected for many tests
    least_p: float  # that so many runs could give, were all of ours above all of the rival's
    improvement: float  # probability that a run of ours returns more than one of the rival


@dataclass(frozen=True)
class Verdict:
    """How ours stand against the rivals on one task at one moment."""

    ours: str  # our contender with the highest mean
    mean: float  # its return
    rivals: tuple[Rival, ...]  # the strongest first
    still: float  # return of the policy that does nothing

    @property
    def leads(self) -> bool:
        """Whether ours returns more than every rival, and more than doing nothing does."""
        return self.mean > self.still and all(rival.lead > 0 for rival in self.rivals)

    @property
    def is_significant(self) -> bool:
        """Whether it leads, and a permutation test says so against every rival."""
        return self.p <= 1 - LEVEL

    @property
    def p(self) -> float:
        """The p-value of the lead over every rival, the largest of them (a claim of several parts); 1 without a lead.

        It needs no correction for the number of rivals; for the choice of the best of ours see `cross_chosen`.
        """
        return max(rival.p for rival in self.rivals) if self.leads else 1.0

    @property
    def least_p(self) -> float:
        """The smallest `p` that so many runs could give."""
        return max(rival.least_p for rival in self.rivals)


def decide_at(ours: Runs, rivals: Runs, still: float, seed: int = 0) -> Verdict | None:
    """Return the verdict on runs of two groups of contenders; None where a group is empty.

    The best of ours is chosen by the very returns that are compared, and so is the strongest rival.
    """
    if not ours or not rivals:
        return None
    best = max(ours, key=lambda name: float(np.mean(ours[name])))
    mean = float(np.mean(ours[best]))
    found = [
        Rival(
            name, float(np.mean(runs)), mean - float(np.mean(runs)), _p(tuple(ours[best]), tuple(runs), seed),
            least_p(len(ours[best]), len(runs), cut=0.0), improvement(ours[best], runs),
        )
        for name, runs in rivals.items()
    ]  # fmt: skip
    return Verdict(best, mean, tuple(sorted(found, key=lambda rival: -rival.mean)), still)


@functools.cache
def _p(one: tuple[float, ...], other: tuple[float, ...], seed: int) -> float:
    """Return the p-value of two groups of runs, which several tables and figures compare.

    Of their plain means, by which ours lead: another statistic may differ the other way, and surely.
    """
    return permutation_p(np.array(one), np.array(other), seed, cut=0.0)


def improvement(one: Float[np.ndarray, " ours"], other: Float[np.ndarray, " theirs"]) -> float:
    """Return the probability of improvement of one contender over another."""
    above = one[:, None] > other[None]
    return float((above + 0.5 * (one[:, None] == other[None])).mean())


def improvement_interval(one: Float[np.ndarray, " ours"], other: Float[np.ndarray, " theirs"]) -> Estimate:
    """Return the probability of improvement with a 95 % interval that also holds for few runs, all of them above the others.

    Its ends are the probabilities from which the one that was found is as far off as the normal quantile of their own
    standard error; a percentile bootstrap would return [1, 1] where all runs of two and three are in order.
    """
    found, count = improvement(one, other), len(one) * len(other)
    extra, reach = (len(one) + len(other)) / 2 - 1, float(ndtri((1 + LEVEL) / 2))

    def beyond(true: float) -> float:
        shape = 1 + extra * ((1 - true) / (2 - true) + true / (1 + true))
        return (found - true) ** 2 - reach**2 * true * (1 - true) * shape / count

    low = 0.0 if found == 0 else float(brentq(beyond, 0.0, found - 1e-9))
    high = 1.0 if found == 1 else float(brentq(beyond, found + 1e-9, 1.0))
    return Estimate(found, low, high, STUDENT)


def cross_chosen(ours: Runs) -> Float[np.ndarray, " _"]:
    """Return one return per seed: that of the contender with the highest mean over the *other* seeds.

    What the best of several contenders returns on the very runs that chose it is too good; this is not. The runs of all
    contenders belong together seed by seed, at least two; of equal means the first contender counts.
    """
    every = np.stack(list(ours.values()))
    others = every.sum(axis=1, keepdims=True) - every
    return every[np.argmax(others, axis=0), np.arange(every.shape[1])]


def holm(p_values: Sequence[float]) -> Float[np.ndarray, " tests"]:
    """Return p-values corrected for their number: with those up to a level, a false claim among all is no likelier than it."""
    p = np.asarray(p_values, float)
    order = np.argsort(p)
    rising = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(rising, 1.0)
    return corrected


def area_by_episodes(at: Sequence[int], returns: Float[np.ndarray, " counts"], end: int) -> float:
    """Return the mean return of the answer over the first `end` episodes of a task.

    After n episodes the answer is the one of the last count that is not above n. Counts rise, and begin with 0.
    """
    edges = np.minimum(np.append(at, end), end)
    return float((returns * np.diff(edges)).sum() / end)
