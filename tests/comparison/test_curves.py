"""Statistics of curves, against closed forms and independent references."""

import numpy as np
import pytest

from lightning_pz.comparison.curves import (
    area,
    least_p,
    normalize,
    on_grid,
    permutation_p,
    steps_to_reach,
)


def test_curve_is_carried_forward_and_unknown_before_the_first_evaluation():
    found = on_grid(np.array([10, 20, 30]), np.array([1.0, 5.0, 2.0]), np.array([0, 9, 10, 19, 20, 29.5, 30, 100]))
    np.testing.assert_array_equal(found, [np.nan, np.nan, 1, 1, 5, 5, 2, 2])


def test_of_two_evaluations_at_one_step_the_later_stands():
    assert on_grid(np.array([10, 10]), np.array([1.0, 7.0]), np.array([10]))[0] == 7


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
    # A best below the floor turns no order around, and what rounding adds to equal returns is no score.
    np.testing.assert_array_equal(normalize(np.array([2.0, 1.0]), 3.0, 2.0), 0)
    np.testing.assert_array_equal(normalize(np.array([1e3, 1e3 + 1e-10]), 1e3, 1e3 + 1e-10), 0)


def test_steps_to_reach_and_censoring():
    steps, returns = np.array([10, 20, 30, 40]), np.array([0.0, 5.0, 3.0, 9.0])
    assert steps_to_reach(steps, returns, 5.0, 100) == 20
    assert steps_to_reach(steps, returns, 5.1, 100) == 40
    assert steps_to_reach(steps, returns, 5.1, 39) == np.inf
    assert steps_to_reach(steps, returns, 9.1, 100) == np.inf


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
