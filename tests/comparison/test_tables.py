"""Numbers as text."""

import math

import numpy as np
import pytest

from lightning_pz.common.statistics import NONE, RANGE, STUDENT, Estimate
from lightning_pz.comparison.tables import compact, reach_text, text


def test_censored_runs_are_counted_and_never_averaged():
    assert reach_text(np.array([1000.0, 3000.0, math.inf])) == "3,000 2/3"
    assert reach_text(np.array([1000.0, math.inf, math.inf])) == "not reached 1/3"
    assert reach_text(np.array([1000.0, math.inf])) == "not reached 1/2"
    assert reach_text(np.array([1000.0, 2000.0]), short=True) == "1.5k 2/2"


def test_an_interval_is_shown_where_there_is_one():
    assert text(Estimate(98.154, 97.6, 100.25, STUDENT)) == "98.2 [97.6, 100.2]"
    assert text(Estimate(-0.001, math.nan, math.nan, NONE)) == "0.00"
    assert text(Estimate(0.5, 0.25, 0.75, STUDENT), 3) == "0.500 [0.250, 0.750]"
    assert text(Estimate(0.5, 0.25, 0.75, RANGE), 3) == "0.500 (0.250 to 0.750)"


@pytest.mark.parametrize(
    ("steps", "words"),
    [(0, "0"), (999, "999"), (1250, "1.25k"), (50_000, "50k"), (999_400, "999k"), (999_600, "1M"), (1.5e6, "1.5M")],
)
def test_steps_are_short(steps, words):
    assert compact(steps) == words
