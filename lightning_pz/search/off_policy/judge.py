"""Which policy is the answer, by the search's own episodes without noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

Verdict = Literal["play", "drop", "adopt"]


class Spread(NamedTuple):
    """Sums from which the standard deviation of an episode's return follows, over all policies that played several."""

    squares: float = 0.0  # of deviations from each policy's own mean
    freedom: int = 0  # degrees of freedom of those

    def add(self, returns: Sequence[float]) -> Spread:
        """Add the episodes of one policy."""
        values = np.asarray(returns, dtype=np.float64)
        return Spread(self.squares + float(np.square(values - values.mean()).sum()), self.freedom + len(values) - 1)

    @property
    def deviation(self) -> float:
        """The pooled standard deviation, 0 while nothing is known."""
        return math.sqrt(self.squares / self.freedom) if self.freedom else 0.0


def judge(
    incumbent: Sequence[float], first: float, confirming: Sequence[float], is_enough: bool, deviation: float
) -> Verdict:
    """Say what comes of a candidate: another episode, its dismissal, or its adoption.

    The best of many single episodes flatters, so the first episode only asks: a candidate whose `first` return is not above
    the incumbent's mean is dropped. Fresh episodes answer, in which the first has no part: their mean must stay above the
    incumbent's, and once there are enough, by the standard error of the difference, `s sqrt(1/n + 1/m)` for n and m episodes
    with the pooled standard deviation s.
    """
    goal = float(np.mean(incumbent))
    if not first > goal or (confirming and not float(np.mean(confirming)) > goal):
        return "drop"
    if not confirming or not is_enough:
        return "play"
    error = deviation * math.sqrt(1 / len(incumbent) + 1 / len(confirming))
    return "adopt" if float(np.mean(confirming)) >= goal + error else "drop"
