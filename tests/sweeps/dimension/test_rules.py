"""The rules of the behavior dimension and their paired bootstrap, against closed forms and plain resampling."""

import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from sweeps.dimension.rules import (
    DimensionInterval,
    decide_dimension,
    draw_fvu,
    first_below,
    marginal,
    mean_fvu,
    student_weights,
)

SIZES = [1, 2, 3, 5, 8]


@pytest.mark.parametrize(
    "values, below, flat",
    [
        ([0.5, 0.3, 0.08, 0.05, 0.02], 3, 3),  # from 3 to 5 each number gains 0.015, from 5 to 8 0.01
        ([0.5, 0.1, 0.2, 0.05, 0.02], 2, 2),  # a curve that rises again: the first that passes
        ([0.9, 0.8, 0.7, 0.6, 0.5], math.inf, math.inf),
        ([0.05, 0.05, 0.05, 0.05, 0.05], 1, 1),
    ],
)
def test_rules(values, below, flat):
    assert first_below(0.1)(np.array(values), SIZES) == below
    assert marginal(0.02)(np.array(values), SIZES) == flat


def test_one_size_has_no_margin():
    assert marginal(0.1)(np.array([[0.5], [0.1]]), [4]).tolist() == [math.inf, math.inf]


def noisy(runs, policies, level, seed):
    generator = np.random.default_rng(seed)
    return level * generator.exponential(size=(runs, policies)) * generator.uniform(0.8, 1.2, size=(runs, 1))


def test_draws_of_policies_are_those_of_plain_resampling():
    """The same mean and spread as taking rows at random, one loop at a time."""
    spread = np.random.default_rng(9).exponential(size=120)
    errors = [noisy(1, 120, 0.3, 1), noisy(1, 120, 0.1, 2)]
    generator, plain = np.random.default_rng(5), []
    for _ in range(4000):
        rows = generator.integers(120, size=120)
        plain.append([error[:, rows].sum() / spread[rows].sum() for error in errors])
    ours = draw_fvu(errors, spread, joint=False, draws=4000, seed=0)
    assert ours.mean(0) == pytest.approx(np.mean(plain, 0), rel=0.02)
    assert ours.std(0) == pytest.approx(np.std(plain, 0), rel=0.08)
    assert ours.mean(0) == pytest.approx(mean_fvu(errors, spread), rel=0.03)


def test_policies_of_one_climb_are_drawn_together():
    """Six climbs of 50 equal policies are six policies; one by one, 300 would seem to tell seven times as much."""
    generator = np.random.default_rng(3)
    climbs = generator.permutation(np.repeat([7, -1, -9, 3, 20, 4], 50))
    level = dict(zip(np.unique(climbs), [0.05, 0.1, 0.1, 0.2, 0.3, 0.6], strict=True))
    error, spread = np.array([[level[climb] for climb in climbs]]), np.ones(300)
    few = np.array([[level[climb] for climb in np.unique(climbs)]])
    whole = draw_fvu([error], spread, joint=False, draws=2000, seed=0, climbs=climbs)
    np.testing.assert_allclose(whole, draw_fvu([few], np.ones(6), joint=False, draws=2000, seed=0))
    alone = draw_fvu([error], spread, joint=False, draws=2000, seed=0)
    assert whole.std() > 5 * alone.std()
    every = draw_fvu([error], spread, joint=False, draws=2000, seed=0, climbs=np.arange(300))
    np.testing.assert_array_equal(every, alone)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_draws_of_training_seeds_are_students(seeds):
    """Where policies add nothing, quantiles over draws are the interval of Student's t, which three seeds need."""
    generator = np.random.default_rng(seeds)
    levels = generator.normal(0.1, 0.01, size=(seeds, 1))
    drawn = draw_fvu([levels * np.ones((seeds, 30))], np.ones(30), joint=True, draws=100_000, seed=0)[:, 0]
    wanted = ttest_1samp(levels[:, 0], 0).confidence_interval(0.95)
    reach = wanted.high - wanted.low
    assert np.quantile(drawn, [0.025, 0.975]) == pytest.approx([wanted.low, wanted.high], abs=0.03 * reach)
    weights = student_weights(seeds, 50, generator)
    assert weights.sum(1) == pytest.approx(np.ones(50))


def test_the_bootstrap_is_paired():
    """Errors that are the same share of every policy's spread have no interval, however unequal the policies are."""
    spread = np.random.default_rng(0).exponential(size=50) ** 3
    errors = [share * np.stack([spread, spread]) for share in (0.3, 0.099)]
    drawn = draw_fvu(errors, spread, joint=False, draws=200, seed=0)
    assert drawn.std(0) == pytest.approx([0, 0], abs=1e-12)
    found = decide_dimension(first_below(0.1), mean_fvu(errors, spread), drawn, [1, 2])
    assert (found.value, found.low, found.high, found.before) == (2, 2, 2, 1)


def test_seeds_of_one_training_are_drawn_together():
    """Two runs, one good at every size and one bad: jointly drawn sizes always agree on how bad the draw was."""
    spread = np.ones(40)
    errors = [np.stack([0.1 * spread, 0.3 * spread])] * 2
    together = draw_fvu(errors, spread, joint=True, draws=500, seed=0)
    apart = draw_fvu(errors, spread, joint=False, draws=500, seed=0)
    assert np.array_equal(together[:, 0], together[:, 1])
    assert not np.array_equal(apart[:, 0], apart[:, 1])


def test_the_interval_covers_the_truth():
    """Over 200 studies of a curve whose truth is 3, the 95 % interval holds 3 in at least nine of ten."""
    held = 0
    for study in range(200):
        generator = np.random.default_rng(study)
        spread = generator.exponential(size=400)
        levels = (0.4, 0.125, 0.0995, 0.05)
        errors = [level * spread * generator.gamma(4, 0.25, size=(1, 400)) for level in levels]
        drawn = draw_fvu(errors, spread, joint=False, draws=300, seed=study)
        found = decide_dimension(first_below(0.1), mean_fvu(errors, spread), drawn, [1, 2, 3, 5])
        held += found.low <= 3 <= found.high
    assert held >= 185


def test_a_size_that_was_not_reached_is_no_number():
    found = DimensionInterval(math.inf, 8, math.inf, 16, 16)
    assert found.text() == "> 16 [8, > 16]" and "inf" not in found.text()
    assert DimensionInterval(3, 3, 3, 16, 2).text() == "3 [3]"


def test_the_same_seed_gives_the_same_draws():
    spread, errors = np.ones(30), [noisy(2, 30, 0.2, 3)]
    first, again, other = (draw_fvu(errors, spread, joint=False, draws=50, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
