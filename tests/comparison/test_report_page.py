"""Numbers as text."""

import math

import numpy as np
import pytest

from lightning_pz.comparison.labels import short_steps
from lightning_pz.comparison.report_page import reach_text


def test_censored_runs_are_counted_and_never_averaged():
    assert reach_text(np.array([1000.0, 3000.0, math.inf])) == "3,000 2/3"
    assert reach_text(np.array([1000.0, math.inf, math.inf])) == "not reached 1/3"
    assert reach_text(np.array([1000.0, math.inf])) == "not reached 1/2"
    assert reach_text(np.array([1000.0, 2000.0]), short=True) == "1.5k 2/2"


@pytest.mark.parametrize(
    ("steps", "words"),
    [(0, "0"), (999, "999"), (1250, "1.25k"), (50_000, "50k"), (999_400, "999k"), (999_600, "1M"), (1.5e6, "1.5M")],
)
def test_steps_are_short(steps, words):
    assert short_steps(steps) == words
