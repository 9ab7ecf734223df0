"""Which policy is the answer, by the search's own episodes without noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from lightning_pz.search.off_policy import pace_rules

Ruling = Literal["play", "drop", "adopt"]


def judge(incumbent: Sequence[float], candidate: Sequence[float], is_enough: bool) -> Ruling:
    """Say what comes of a candidate after some episodes: another one, its dismissal, or its adoption.

    Both play the same episodes, those with the same seeds, since much of a return is decided by where an episode begins. A
    candidate that does not hold is dropped at once. The best of many single episodes flatters, so one is never enough, and
    at the end the candidate must be ahead by the standard error of the mean difference; with two episodes that is to win
    both. Returns are by episode; the incumbent may have played more of them.
    """
    if not holds(incumbent, candidate):
        return "drop"
    if not is_enough or len(candidate) < 2:
        return "play"
    ahead = np.asarray(candidate, dtype=np.float64) - np.asarray(incumbent[: len(candidate)], dtype=np.float64)
    error = ahead.std(ddof=1) / np.sqrt(len(ahead))
    return "adopt" if ahead.mean() > 0 and ahead.mean() >= error else "drop"


def holds(incumbent: Sequence[float], candidate: Sequence[float]) -> bool:
    """Return whether a candidate loses no more than `pace_rules.TOLERANCE` in the episodes that it has played so far."""
    before, now = float(np.mean(incumbent[: len(candidate)])), float(np.mean(candidate))
    return now >= before - pace_rules.TOLERANCE * abs(before)
