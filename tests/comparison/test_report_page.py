"""Numbers as text."""

import math

import numpy as np
import pytest

from lightning_pz.comparison.labels import short_steps
from lightning_pz.comparison.report_page import names_of_one_fit, reach_text
from lightning_pz.comparison.search_runs import find_runs


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


@pytest.mark.parametrize(
    ("algorithm", "tags", "settings", "named"),
    [
        ("pgpe", ["k2-seed0", "k2-seed0"], {}, True),
        ("pgpe", ["k2-seed0", "k2-seed1"], {}, False),
        ("pgpe", ["k2-seed0"], {}, False),
        ("ppo", ["k2-seed0", "k2-seed0"], {}, False),
        ("td3", ["k2-seed0", "k2-seed0"], {"space": "weights"}, True),
        ("sac", ["k2-seed0", "k2-seed0"], {"space": "own"}, True),
        ("parameter_pgpe", ["k2-seed0", "k2-seed0"], {"start": "draws"}, False),
        ("parameter_pgpe", ["k2-seed0", "k2-seed0"], {"start": "pool_best"}, True),
    ],
)
def test_searches_that_share_a_fit_are_named(algorithm, tags, settings, named, write_run, tmp_path):
    """Ten searches through one decoder are ten searches, and one decoder."""
    for seed, tag in enumerate(tags):
        write_run(tmp_path, algorithm, seed, tag=f"medium-{tag}", **settings)
    runs = find_runs([tmp_path]).runs
    assert names_of_one_fit({"it": runs}) == (["it"] if named else [])


def test_fits_are_told_apart_by_their_content_and_not_by_their_name(write_run, tmp_path):
    for seed in range(2):
        write_run(tmp_path, "pgpe", seed, tag="medium-k2-seed0", content={"checkpoint": f"digest {seed}"})
    assert names_of_one_fit({"it": find_runs([tmp_path]).runs}) == []
