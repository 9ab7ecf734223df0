"""Statistics of curves, against closed forms and independent references."""

import numpy as np
import pytest
from scipy.stats import norm, trim_mean

from lightning_pz.comparison.statistics import (
    area,
    estimate,
    iqm,
    least_p,
    normalize,
    on_grid,
    permutation_p,
    probability_above,
    resampled_iqm,
    steps_to_reach,
)
from lightning_pz.intervals import percentiles


def test_curve_is_carried_forward_and_unknown_before_the_first_evaluation():
    found = on_grid(np.array([10, 20, 30]), np.array([1.0, 5.0, 2.0]), np.array([0, 9, 10, 19, 20, 29.5, 30, 100]))
    np.testing.assert_array_equal(found, [np.nan, np.nan, 1, 1, 5, 5, 2, 2])


def test_of_two_evaluations_at_one_step_the_later_stands():
    assert on_grid(np.array([10, 10]), np.array([1.0, 7.0]), np.array([10]))[0] == 7


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


def test_bootstrap_interval_covers_the_truth_as_often_as_it_says(rng):
    trials, hits = 400, 0
    for trial in range(trials):
        # The normal's interquartile mean is its mean.
        found = estimate([rng.normal(3.0, 2.0, size=30)], draws=400, seed=trial)
        hits += found.low <= 3.0 <= found.high
    # 95 % but for the percentile bootstrap's known shortness at 30 runs; four standard errors are 4 %.
    assert 0.89 <= hits / trials <= 0.98


def test_bootstrap_error_is_the_standard_error_of_the_mean(rng):
    # Three runs are not trimmed: the bootstrap's variance has a closed form, the population variance over n.
    values = np.array([1.0, 4.0, 10.0])
    draws = resampled_iqm([values], draws=40_000, seed=0)
    assert draws.mean() == pytest.approx(values.mean(), abs=0.05)
    assert draws.var() == pytest.approx(values.var() / 3, rel=0.03)


def test_strata_keep_their_number_of_runs():
    # Two tasks without any spread: stratified, every resample is the same; pooled, it would not be.
    strata = [np.zeros(4), np.ones(4)]
    assert np.ptp(resampled_iqm(strata, draws=500, seed=0)) == 0
    assert np.ptp(resampled_iqm([np.concatenate(strata)], draws=500, seed=0)) > 0


def test_resampling_in_chunks_gives_all_draws(rng, monkeypatch):
    values = rng.normal(size=(6, 10))
    monkeypatch.setattr("lightning_pz.comparison.statistics._CHUNK", 120)
    draws = resampled_iqm([values], draws=501, seed=0)
    assert draws.shape == (501, 10)
    assert len(np.unique(draws[:, 0])) > 100


def test_a_run_is_resampled_whole(rng):
    # Column two is the negative of column one in every run, and so it must be in every resample.
    values = rng.normal(size=(5, 1)) * np.array([1.0, -1.0])
    draws = resampled_iqm([values], draws=200, seed=0)
    np.testing.assert_allclose(draws[:, 0], -draws[:, 1])


def test_percentiles_are_of_95_percent():
    low, high = percentiles(norm.ppf((np.arange(100_000) + 0.5) / 100_000))
    assert (low, high) == pytest.approx((-1.96, 1.96), abs=1e-2)


def test_one_run_has_no_interval():
    found = estimate([np.array([5.0])], draws=100, seed=0)
    assert found.value == 5.0
    assert np.isnan([found.low, found.high]).all()
    assert estimate([np.array([5.0]), np.array([6.0, 7.0])], draws=100, seed=0).low <= 6


def test_area_of_a_step_curve_by_hand():
    # 0 for 20 steps, 0.5 for 30, 1 for 50: (0 + 15 + 50) / 100.
    assert area(np.array([20, 50]), np.array([0.5, 1.0]), 100) == pytest.approx(0.65)
    # The same up to step 40 only: 20 steps at 0.5.
    assert area(np.array([20, 50]), np.array([0.5, 1.0]), 40) == pytest.approx(0.25)
    assert area(np.array([20, 50]), np.array([0.5, 1.0]), 10) == 0
    # At equal returns, whoever shows them earlier has the larger area; a worse incumbent takes area away again.
    assert area(np.array([0]), np.array([1.0]), 100) == 1
    assert area(np.array([0, 50]), np.array([1.0, -1.0]), 100) == 0


def test_area_is_the_mean_of_the_curve_on_a_fine_grid(rng):
    steps = np.sort(rng.choice(np.arange(1, 1000), size=30, replace=False))
    scores = rng.normal(size=30)
    grid = np.arange(1000) + 0.5
    assert area(steps, scores, 1000) == pytest.approx(np.nan_to_num(on_grid(steps, scores, grid)).mean())


def test_scores_run_from_floor_to_best():
    np.testing.assert_allclose(normalize(np.array([-10.0, 0.0, 10.0, 20.0, -30.0]), -10.0, 10.0), [0, 0.5, 1, 1.5, -1])
    np.testing.assert_array_equal(normalize(np.array([3.0, 3.0]), 3.0, 3.0), 0)


def test_steps_to_reach_and_censoring():
    steps, returns = np.array([10, 20, 30, 40]), np.array([0.0, 5.0, 3.0, 9.0])
    assert steps_to_reach(steps, returns, 5.0, 100) == 20
    assert steps_to_reach(steps, returns, 5.1, 100) == 40
    assert steps_to_reach(steps, returns, 5.1, 39) == np.inf
    assert steps_to_reach(steps, returns, 9.1, 100) == np.inf


def test_probability_of_normals_in_closed_form():
    # Means of 3 runs: the bootstrap's difference has mean d and variance (v + w) / 3, nearly normal for these.
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=3), rng.normal(size=3)
    expected = norm.cdf((one.mean() - other.mean()) / np.sqrt((one.var() + other.var()) / 3))
    assert probability_above(one, other, False, 20_000, 0) == pytest.approx(expected, abs=0.06)


def test_probability_is_certain_when_separated_and_even_when_equal(rng):
    values = rng.normal(size=8)
    assert probability_above(values + 100, values, False, 500, 0) == 1
    assert probability_above(values - 100, values, False, 500, 0) == 0
    assert probability_above(values, values, True, 500, 0) == 0.5
    assert probability_above(values, values, False, 20_000, 0) == pytest.approx(0.5, abs=0.02)


def test_pairing_sees_a_small_lead_that_every_seed_shows(rng):
    values = 10 * rng.normal(size=8)
    assert probability_above(values + 0.1, values, True, 2000, 0) == 1
    assert 0.4 < probability_above(values + 0.1, values, False, 2000, 0) < 0.65


def test_permutation_test_by_counting():
    # All of one above all of the other: 2 of the 20 ways to split six runs are as far apart.
    assert permutation_p(np.arange(3.0) + 10, np.arange(3.0), 0) == pytest.approx(2 / 20)
    # With five each, one is trimmed at either end: swapping the two that are nearest changes nothing, 4 of 252.
    assert permutation_p(np.arange(5.0) + 10, np.arange(5.0), 0) == pytest.approx(4 / 252)
    assert permutation_p(np.arange(4.0), np.arange(4.0), 0) == 1
    assert permutation_p(np.array([9.0]), np.arange(4.0), 0) == 1


def test_least_p_value_is_reached_and_not_undercut(rng):
    for ours, theirs in ((3, 3), (4, 4), (5, 2), (5, 5), (2, 6)):
        least = least_p(ours, theirs)
        found = [permutation_p(rng.normal(size=ours) + 2, rng.normal(size=theirs), 0) for _ in range(20)]
        assert min(found) == pytest.approx(least)
    assert least_p(4, 4) > 0.05 > least_p(5, 5)
