"""Recovery metrics against closed forms, and the intervals against their promise."""

import numpy as np
import pytest
from scipy.stats import t as t_of

from lightning_pz.common.statistics import mean_interval, percentiles
from lightning_pz.evaluation.metrics import (
    RECOVERY_METRICS,
    bootstrap,
    drop_invalid,
    over_seeds,
    reconstruction_gap,
    recovery,
    recovery_best,
    recovery_range,
    wasserstein,
)


def groups(generator, policies=40, episodes=2):
    return {
        name: generator.normal(size=(policies, episodes)) for name in ("pool", "reconstructed", "latents", "random")
    }


def test_ratios_on_numbers_done_by_hand():
    pool, decoded = np.array([0.0, 1, 2, 3, 10]), np.array([1.0, 8])
    assert recovery_best(pool, decoded) == (8 - 2) / (10 - 2)  # the median is 2
    assert recovery_range(pool, decoded) == 7 / 10


def test_equal_groups_recover_everything():
    returns = groups(np.random.default_rng(0))
    returns["reconstructed"] = returns["latents"] = returns["pool"]
    values = recovery(returns)
    assert values["recovery_best"] == values["recovery_range"] == 1
    assert values["reconstruction_gap"] == values["wasserstein"] == values["wasserstein_reconstructed"] == 0
    assert tuple(values) == RECOVERY_METRICS


def test_a_pool_that_earns_the_same_everywhere_has_no_ratio():
    same = np.zeros(5)
    assert np.isnan(recovery_best(same, np.ones(3))) and np.isnan(recovery_range(same, np.ones(3)))


def test_wasserstein_of_a_shift_is_the_shift_over_the_range():
    pool = np.random.default_rng(1).normal(size=200)
    assert wasserstein(pool, pool + 0.3) == pytest.approx(0.3 / np.ptp(pool))


def test_metrics_do_not_depend_on_the_unit_of_the_return():
    returns = groups(np.random.default_rng(2))
    one, other = recovery(returns), recovery({name: 7 * values + 100 for name, values in returns.items()})
    for metric in ("recovery_best", "recovery_range", "wasserstein"):
        assert other[metric] == pytest.approx(one[metric])
    assert other["reconstruction_gap"] == pytest.approx(7 * one["reconstruction_gap"])


def test_gap_is_not_fooled_by_luck():
    """Policies that all are worth 0 and are decoded perfectly: what the luckiest lose on other episodes is no gap."""
    generator = np.random.default_rng(3)
    gaps, earned = [], []
    for _ in range(200):
        own, rebuilt = generator.normal(size=(2, 400, 4))
        gaps.append(reconstruction_gap(own, rebuilt)[0])
        earned.append(reconstruction_gap(own, rebuilt)[1])
    error = np.std(gaps) / np.sqrt(len(gaps))
    assert abs(np.mean(earned)) < 4 * np.std(earned) / np.sqrt(len(earned))
    assert abs(np.mean(gaps)) < 4 * error
    naive = np.sort(own.mean(1))[-50:].mean()
    assert naive > 50 * error  # what choosing and measuring on the same episodes would have called a loss


def test_gap_looks_at_the_best_alone():
    own = np.arange(100.0)[:, None] + np.zeros((100, 2))
    rebuilt = own.copy()
    rebuilt[90:] -= 5
    rebuilt[:50] += 1000
    assert reconstruction_gap(own, rebuilt, count=10) == (-5, np.arange(90, 100).mean())
    assert reconstruction_gap(own, rebuilt, count=20) == (-2.5, np.arange(80, 100).mean())


def test_invalid_policies_are_left_out_of_pool_and_reconstruction_together():
    returns = groups(np.random.default_rng(4), policies=5)
    returns["pool"][1, 0] = np.nan
    returns["reconstructed"][3] = np.nan
    returns["latents"][0, 1] = np.nan
    kept = drop_invalid(returns)
    np.testing.assert_array_equal(kept["pool"], returns["pool"][[0, 2, 4]])
    np.testing.assert_array_equal(kept["reconstructed"], returns["reconstructed"][[0, 2, 4]])
    assert len(kept["latents"]) == 4 and len(kept["random"]) == 5


@pytest.mark.slow
def test_interval_of_a_mean_like_metric_covers_the_truth():
    """Reconstructions that lose 1 on average: 95 % intervals of the gap hold -1 about 95 % of the time."""
    generator = np.random.default_rng(5)
    covered = 0
    for trial in range(60):
        returns = {name: generator.normal(size=(60, 2)) for name in ("pool", "reconstructed", "latents", "random")}
        returns["reconstructed"] = returns["pool"] - 1 + 0.1 * generator.normal(size=(60, 2))
        low, high = percentiles(bootstrap(returns, 150, trial, count=60)["reconstruction_gap"])
        covered += low <= -1 <= high
    assert 50 <= covered <= 60


def test_same_seed_same_resamples_and_the_pool_is_shared_between_checkpoints():
    generator = np.random.default_rng(6)
    one = groups(generator)
    other = {**groups(generator), "pool": one["pool"]}
    first, again = bootstrap(one, 50, 3), bootstrap(one, 50, 3)
    np.testing.assert_array_equal(first["recovery_best"], again["recovery_best"])
    np.testing.assert_array_equal(first["best_in_pool"], bootstrap(other, 50, 3)["best_in_pool"])


def test_interval_over_seeds_is_students_where_policies_add_nothing():
    values = np.array([1.0, 2.0, 4.0, 9.0])
    found = over_seeds(values, np.repeat(values[:, None], 100, axis=1))
    assert found[:3] == pytest.approx((4.0, *t_of(3, values.mean(), values.std(ddof=1) / 2).interval(0.95)))
    assert found.kind == "student"


def test_below_four_seeds_the_range_stands_and_one_seed_has_nothing():
    values = np.array([1.0, 2.0, 6.0])
    drawn = np.random.default_rng(0).normal(size=(3, 100))
    assert over_seeds(values, drawn) == (3, 1, 6, "range")
    alone = over_seeds(values[:1], drawn[:1])
    assert (alone.value, alone.kind) == (1, "none") and np.isnan(alone[1:3]).all()


def test_interval_over_seeds_covers_what_seeds_and_their_common_policies_add():
    """Metric = policies + seed: seeds of one pool share the first, so that their spread alone would tell too little."""
    generator, covered, naive = np.random.default_rng(7), 0, 0
    for _ in range(400):
        policies, own = 7 * generator.normal(size=50), generator.normal(size=(5, 1))
        each = own + policies + generator.normal(size=(5, 50))
        drawn = each[:, generator.integers(50, size=(200, 50))].mean(2)
        _, low, high, _ = over_seeds(each.mean(1), drawn)
        covered += low <= 0 <= high
        _, low, high, _ = mean_interval(each.mean(1))
        naive += low <= 0 <= high
    assert 0.92 <= covered / 400 <= 0.99
    assert naive / 400 < 0.92


def test_a_range_that_only_rounding_makes_is_no_range():
    pool = 1000 + 1e-11 * np.arange(5)
    assert np.isnan([recovery_best(pool, pool), recovery_range(pool, pool), wasserstein(pool, pool + 1)]).all()
