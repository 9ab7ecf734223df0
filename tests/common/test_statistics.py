"""Intervals against closed forms, and against simulations of what they promise."""

import math

import numpy as np
import pytest
from scipy.stats import norm, trim_mean, ttest_1samp, ttest_rel
from scipy.stats import t as student_t

from lightning_pz.common.statistics import (
    BOOTSTRAP,
    NONE,
    RANGE,
    STUDENT,
    UNKNOWN,
    Estimate,
    ends_are,
    estimate,
    interquartile,
    iqm,
    mean_interval,
    percentiles,
    probability_above,
    quotient,
    read_estimate,
    share,
    widened,
)
from sweeps.coverage import POPULATIONS, resampled

SEEDS = range(4, 21)
TRIALS = 2000


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def holds(low, high, truth):
    return float(np.mean((low <= truth) & (truth <= high)))


@pytest.mark.parametrize("runs", [4, 5, 30])
def test_interval_of_a_mean_is_scipys(rng, runs):
    values = rng.normal(3, 2, runs)
    wanted = ttest_1samp(values, 0).confidence_interval(0.95)
    assert mean_interval(values) == (pytest.approx(values.mean()), *map(pytest.approx, wanted), STUDENT)


def test_below_four_the_range_stands_and_is_called_one():
    for values in ([5.0, 1.0], [5.0, 1.0, 3.0]):
        for found in (mean_interval(np.array(values)), estimate([np.array(values)])):
            assert found == (3, 1, 5, RANGE)
            assert found.ends(".0f") == " (1 to 5)"
    assert mean_interval(np.array([5.0, 1.0, 3.0, 4.0])).kind == STUDENT


def test_without_the_second_source_of_error_there_is_no_interval():
    whole = mean_interval(np.array([1.0, 2.0, 3.0, 4.0]))
    assert widened(whole, 2.5, math.nan, 3.0).kind == "none" and widened(whole, 2.5, 2.0, 3.0).kind == STUDENT
    assert widened(mean_interval(np.array([1.0, 2.0])), 1.5, math.nan, math.nan).kind == "range"


def test_one_run_has_nothing_beside_it():
    for found in (mean_interval(np.array([5.0])), estimate([np.array([5.0])])):
        assert (found.value, found.kind, found.ends(".1f")) == (5, NONE, "")
        assert np.isnan(found[1:3]).all()
    assert estimate([np.ones(1), np.zeros(1), np.ones(1), np.zeros(1), np.ones(1)]).kind == NONE
    assert (
        estimate([np.array([1.0, 2.0]), np.array([1.0, 2.0])]).kind == NONE
    )  # two tasks are too few to make up for it


def test_equal_runs_have_an_interval_of_no_width():
    assert mean_interval(np.full(10, 500.0)) == (500, 500, 500, STUDENT)
    assert estimate([np.full(5, 98.25)]) == (98.25, 98.25, 98.25, STUDENT)
    assert estimate([np.zeros(4), np.ones(4)]) == (0.5, 0.5, 0.5, STUDENT)


@pytest.mark.parametrize("runs", SEEDS)
def test_few_seeds_are_covered_as_often_as_told(rng, runs):
    """The mean and the interquartile mean of normal runs: nine in ten is not 95 %, and 19 in 20 is."""
    samples = rng.normal(size=(runs, TRIALS))
    ends = np.array([mean_interval(sample)[1:3] for sample in samples.T]).T
    assert 0.935 <= holds(*ends, 0) <= 0.965
    _, low, high, kind = interquartile([samples])
    assert kind == STUDENT and 0.935 <= holds(low, high, 0) <= 0.985
    # The test would have found the percentile bootstrap out.
    if runs <= 8:
        assert holds(*resampled([samples], lambda x: x.mean(0), rng), 0) < 0.92
        assert holds(*resampled([samples], iqm, rng), 0) < 0.935


@pytest.mark.parametrize("runs, wanted", [(2, 0.5), (3, 0.75)])
def test_a_range_of_two_or_three_holds_the_middle_as_often_as_coins_say(rng, runs, wanted):
    _, low, high, kind = interquartile([rng.normal(size=(runs, 20_000))])
    assert kind == RANGE
    assert holds(low, high, 0) == pytest.approx(wanted, abs=0.015)  # 1 - 2 / 2^n: not all on one side


@pytest.mark.parametrize("population, least", [("skewed", 0.925), ("heavy tails", 0.95), ("two peaks", 0.89)])
@pytest.mark.parametrize("runs", [4, 5, 7, 10, 20])
def test_interquartile_mean_of_other_shapes(rng, population, least, runs):
    truth = float(iqm(POPULATIONS[population](rng, (400_000,))))
    _, low, high, _ = interquartile([POPULATIONS[population](rng, (runs, 4000))])
    assert holds(low, high, truth) >= least


@pytest.mark.parametrize("runs", [2, 3, 5, 10])
@pytest.mark.parametrize("apart", [0.0, 1.0, 10.0])
def test_interquartile_mean_over_tasks(rng, runs, apart):
    """Tasks may have equal returns or such that whole tasks lie outside the quartiles."""
    strata = [apart * level + rng.normal(size=(runs, TRIALS)) for level in np.linspace(-1, 1, 8)]
    _, low, high, kind = interquartile(strata)
    assert kind == STUDENT and 0.935 <= holds(low, high, 0) <= 0.99


@pytest.mark.parametrize("episodes", [20, 100])
def test_mean_over_many_episodes(rng, episodes):
    for name, least in {"normal": 0.935, "skewed": 0.895, "heavy tails": 0.93, "two peaks": 0.93}.items():
        ends = np.array([mean_interval(sample)[1:3] for sample in POPULATIONS[name](rng, (TRIALS, episodes))]).T
        assert least <= holds(*ends, 0) <= 0.98, name


@pytest.mark.parametrize("runs", [1, 2, 3, 4, 5, 8, 11])
def test_iqm_is_the_trimmed_mean(rng, runs):
    values = rng.normal(size=(runs, 6))
    np.testing.assert_allclose(iqm(values), trim_mean(values, 0.25, axis=0))
    # Worked by hand: sort, leave out a quarter at either end, rounded down.
    cut = runs // 4
    np.testing.assert_allclose(iqm(values), np.sort(values, axis=0)[cut : runs - cut].mean(axis=0))


def test_iqm_forgets_outliers_but_not_what_is_unknown():
    assert iqm(np.array([1.0, 2.0, 3.0, 1e9])) == 2.5
    # Sorted to the end, an unknown value would be trimmed away as if it were the best.
    assert np.isnan(iqm(np.array([1.0, 2.0, 3.0, np.nan])))
    assert np.isnan(estimate([np.array([1.0, 2.0, np.nan])])[:3]).all()


def test_a_share_of_a_loss_is_no_share():
    own, decoded = np.array([-15.0, -14.0, -16.0, -15.0]), np.array([-10.0, -9.0, -11.0, -10.0])
    assert share(decoded, own) is None  # one gains a third, and would be said to keep 67 %
    assert share(decoded, own + 15) is None  # near zero anything can be said
    assert share(np.ones(1), np.ones(1)) is None


def test_a_share_has_fiellers_interval(rng):
    whole = rng.normal(10, 1, 12)
    part = 0.8 * whole + rng.normal(0, 0.5, 12)
    found = share(part, whole)
    assert found.value == pytest.approx(part.mean() / whole.mean())
    # At either end the difference is told from 0 at exactly 5 %.
    for end in found[1:3]:
        assert ttest_rel(part, end * whole).pvalue == pytest.approx(0.05)
    assert share(0.97 * whole, whole) == (*(pytest.approx(0.97),) * 3, STUDENT)  # what all have in common cancels
    assert share(np.array([1.0, 3.0]), np.array([2.0, 4.0])) == (pytest.approx(4 / 6), 0.5, 0.75, RANGE)


def test_a_share_is_covered(rng):
    hits = 0
    for _ in range(1000):
        whole = rng.normal(5, 2, 10)
        found = share(0.7 * whole + rng.normal(0, 1, 10), whole)
        hits += found.low <= 0.7 <= found.high
    assert 0.93 <= hits / 1000 <= 0.97


def test_nothing_is_divided_by_rounding():
    assert quotient(3.0, 2.0, 10.0) == 1.5
    assert math.isnan(quotient(3.0, 0.0, 10.0)) and math.isnan(quotient(0.0, 0.0, 0.0))
    assert math.isnan(quotient(3.0, -2.0, 10.0)) and math.isnan(quotient(1e-9, 1e-9, 10.0))


def test_a_second_source_of_error_adds_in_squares_on_either_side():
    found = widened(Estimate(10, 7, 13, STUDENT), center=20.0, low=16.0, high=20.0)
    assert found == (10, 5, 13, STUDENT)
    assert widened(Estimate(10, 7, 13, RANGE), 20.0, 16.0, 20.0) == (10, 7, 13, RANGE)


def test_probability_is_that_of_students_test(rng):
    # Means of three runs each are not trimmed; seed by seed it is the paired test, in one direction.
    one, other = rng.normal(size=3), rng.normal(size=3)
    assert probability_above(one, other, True) == pytest.approx(1 - ttest_rel(one, other, alternative="greater").pvalue)
    # Two equal variances of 2 degrees of freedom each make 4.
    other = -one + 1
    error = math.sqrt(2 * one.var(ddof=1) / 3)
    wanted = student_t.cdf((one.mean() - other.mean()) / error, 4)
    assert probability_above(one, other, False) == pytest.approx(wanted)
    assert math.isnan(probability_above(one[:1], other, False))


def test_probability_is_certain_when_separated_and_even_when_equal(rng):
    values = rng.normal(size=8)
    assert probability_above(values + 100, values, False) > 0.999
    assert probability_above(values - 100, values, False) < 0.001
    assert probability_above(values, values, True) == probability_above(values, values, False) == 0.5
    assert probability_above(np.ones(3), np.zeros(3), False) == 1


def test_pairing_sees_a_small_lead_that_every_seed_shows(rng):
    values = 10 * rng.normal(size=8)
    assert probability_above(values + 0.1, values, True) > 0.999
    assert 0.4 < probability_above(values + 0.1, values, False) < 0.65


@pytest.mark.slow
@pytest.mark.parametrize("runs", [3, 5, 8])
@pytest.mark.parametrize("paired", [True, False])
def test_equal_contenders_are_rarely_said_to_lead(rng, runs, paired):
    ahead = [probability_above(*rng.normal(size=(2, runs)), paired) for _ in range(1500)]
    assert np.mean(np.array(ahead) >= 0.975) <= 0.04  # 2.5 % are meant


def test_percentiles_are_of_95_percent():
    low, high = percentiles(norm.ppf((np.arange(100_000) + 0.5) / 100_000))
    assert (low, high) == pytest.approx((-1.96, 1.96), abs=1e-2)


def test_summaries_name_the_kind_and_those_of_earlier_versions_are_read():
    found = Estimate(2.0, 1.0, 3.0, RANGE)
    keys = found.keys("left/return")
    assert keys == {
        "left/return": 2, "left/return_low": 1, "left/return_high": 3, "left/return_interval": "range",
    }  # fmt: skip
    assert read_estimate(keys, "left/return") == found
    assert UNKNOWN.keys("x") == {"x": None, "x_low": None, "x_high": None, "x_interval": "none"}
    assert read_estimate({"x": 2.0, "x_low": 1.0, "x_high": 3.0}, "x") == (2, 1, 3, BOOTSTRAP)
    assert read_estimate({"x": 2.0, "x_low": None, "x_high": None}, "x").kind == NONE
    assert read_estimate({"x": None}, "x") is None


def test_captions_call_a_range_a_range():
    assert ends_are({STUDENT}) == "95 % interval" and ends_are({RANGE, NONE}) == "range" and ends_are({NONE}) == ""
    assert ends_are({STUDENT, RANGE}) == "95 % interval, of fewer than 4 the range"
