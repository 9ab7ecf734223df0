"""Compares what contenders answer after some episodes: arrays of runs in, verdicts out.

References:
    Probability of improvement: Agarwal et al., Deep Reinforcement Learning at the Edge of the Statistical Precipice, 2021,
    section 4.3: P(X > Y) + P(X = Y) / 2 over all pairs of runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from lightning_pz.common.statistics import LEVEL
from lightning_pz.comparison.curves import permutation_p

Runs = Mapping[str, Float[np.ndarray, " _"]]
"""Returns of each contender's runs."""


@dataclass(frozen=True)
class Rival:
    """One rival against our best contender."""

    name: str  # of the rival
    mean: float  # return
    lead: float  # of ours, in units of return
    p: float  # two-sided, of a permutation test of the difference in interquartile means; not corrected for many tests
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
        return self.leads and all(rival.p <= 1 - LEVEL for rival in self.rivals)


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
            name, float(np.mean(runs)), mean - float(np.mean(runs)), permutation_p(ours[best], runs, seed),
            improvement(ours[best], runs),
        )
        for name, runs in rivals.items()
    ]  # fmt: skip
    return Verdict(best, mean, tuple(sorted(found, key=lambda rival: -rival.mean)), still)


def improvement(one: Float[np.ndarray, " ours"], other: Float[np.ndarray, " theirs"]) -> float:
    """Return the probability of improvement of one contender over another."""
    above = one[:, None] > other[None]
    return float((above + 0.5 * (one[:, None] == other[None])).mean())


def area_by_episodes(at: Sequence[int], returns: Float[np.ndarray, " counts"], end: int) -> float:
    """Return the mean return of the answer over the first `end` episodes of a task.

    After n episodes the answer is the one of the last count that is not above n. Counts rise, and begin with 0.
    """
    edges = np.minimum(np.append(at, end), end)
    return float((returns * np.diff(edges)).sum() / end)
