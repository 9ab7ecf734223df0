"""Verdicts after some episodes, against loops written out."""

import itertools

import numpy as np
import pytest

from lightning_pz.comparison.answers_at import (
    area_by_episodes,
    cross_chosen,
    decide_at,
    holm,
    improvement,
    improvement_interval,
)


def test_probability_of_improvement_counts_pairs_and_shares_ties(rng):
    one, other = rng.integers(0, 4, 7).astype(float), rng.integers(0, 4, 5).astype(float)
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in itertools.product(one, other)]
    assert improvement(one, other) == pytest.approx(sum(pairs) / len(pairs))
    assert improvement(one, other) + improvement(other, one) == pytest.approx(1)
    assert improvement(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1


def test_area_is_the_mean_over_every_single_episode(rng):
    at, returns = [0, 1, 2, 5, 10, 20], rng.normal(size=6)
    for end in (1, 3, 10, 20):
        held = [returns[max(i for i, count in enumerate(at) if count <= episode)] for episode in range(end)]
        assert area_by_episodes(at, returns, end) == pytest.approx(np.mean(held))


def test_the_best_of_ours_must_beat_every_rival_and_doing_nothing(rng):
    ours = {"a": np.arange(10.0) + 20, "b": np.arange(10.0)}
    rivals = {"weak": np.arange(5.0) - 100, "strong": np.arange(5.0) + 1}
    found = decide_at(ours, rivals, still=3.0)
    assert found.ours == "a" and found.leads and found.is_significant
    assert [rival.name for rival in found.rivals] == ["strong", "weak"]
    assert found.rivals[0].lead == pytest.approx(24.5 - 3) and found.rivals[0].improvement == 1
    # Every run above every run: of the 3,003 ways to choose 5 of 15 few trimmed means are as far apart.
    assert 2 / 3003 <= found.rivals[0].p < 0.01
    assert not decide_at(ours, rivals, still=30.0).leads
    assert not decide_at({"b": ours["b"]}, {"c": ours["b"] + 0.1}, still=-1.0).leads
    close = decide_at({"b": ours["b"]}, {"c": ours["b"] - 0.1}, still=-1.0)
    assert close.leads and not close.is_significant
    assert decide_at({}, rivals, 0.0) is None and decide_at(ours, {}, 0.0) is None


def test_a_lead_is_as_sure_as_its_own_statistic_is():
    """One run makes a higher mean where all the others are lower: interquartile means differ surely, the other way."""
    verdict = decide_at({"a": np.array([0.0, 1, 2, 3, 100])}, {"b": np.array([10.0, 11, 12, 13, 14])}, still=-5.0)
    assert verdict.leads and verdict.rivals[0].improvement == 0.2
    splits = [np.array(split) for split in itertools.combinations([0, 1, 2, 3, 100, 10, 11, 12, 13, 14], 5)]
    leads = [split.mean() - (156 - split.sum()) / 5 for split in splits]
    upper = sum(lead >= verdict.rivals[0].lead - 1e-9 for lead in leads) / len(leads)
    assert verdict.p == pytest.approx(2 * min(upper, 0.5)) and not verdict.is_significant


def test_holm_is_the_closed_test_of_bonferroni(rng):
    """A claim stands at a level if Bonferroni refuses each set of claims that holds it; the brute-force definition."""
    p = [*rng.uniform(0, 0.3, 4), 0.001, 0.001]
    sets = [s for size in range(1, len(p) + 1) for s in itertools.combinations(range(len(p)), size)]
    wanted = [max(min(1.0, len(s) * min(p[i] for i in s)) for s in sets if claim in s) for claim in range(len(p))]
    assert holm(p) == pytest.approx(wanted)
    assert len(holm([])) == 0 and holm([0.04]) == pytest.approx([0.04])


def test_the_choice_on_other_seeds_does_not_see_the_seed_that_it_is_measured_on(rng):
    ours = {"a": rng.normal(size=6), "b": rng.normal(size=6), "c": rng.normal(size=6)}
    chosen = []
    for seed in range(6):
        means = {name: np.mean(np.delete(runs, seed)) for name, runs in ours.items()}
        chosen.append(ours[max(means, key=means.get)][seed])
    assert cross_chosen(ours) == pytest.approx(chosen)
    assert cross_chosen({"a": ours["a"]}) == pytest.approx(ours["a"])
    # Of contenders that are alike, the best by the same runs is above 0, their common mean; this one is not.
    alike = rng.normal(size=(4000, 5, 10))
    draws = np.array([cross_chosen({str(i): runs for i, runs in enumerate(one)}).mean() for one in alike])
    best = alike.mean(axis=2).max(axis=1)
    assert abs(draws.mean()) < 4 * draws.std() / np.sqrt(len(draws)) and best.mean() > 0.3


def test_the_interval_of_improvement_solves_its_equation_and_covers():
    def variance(true, ours, theirs):
        extra = (ours + theirs) / 2 - 1
        return true * (1 - true) * (1 + extra * (1 - true) / (2 - true) + extra * true / (1 + true)) / (ours * theirs)

    one, other = np.array([1.0, 3.0, 5.0, 9.0]), np.array([2.0, 4.0, 4.5])
    found = improvement_interval(one, other)
    grid = np.linspace(1e-6, 1 - 1e-6, 200_001)
    inside = grid[np.abs(found.value - grid) <= 1.959964 * np.sqrt(variance(grid, 4, 3))]
    assert (found.low, found.high) == pytest.approx((inside[0], inside[-1]), abs=1e-4)
    apart = improvement_interval(one + 100, other)
    assert apart.value == apart.high == 1 and 0.4 < apart.low < 0.8
    below = improvement_interval(other, one + 100)
    assert (below.low, below.high) == pytest.approx((0, 1 - apart.low))
    rng, hits = np.random.default_rng(0), 0
    for _ in range(600):  # normal runs one standard deviation apart: the truth is Phi(1 / sqrt 2)
        low, high = improvement_interval(rng.normal(1, 1, 10), rng.normal(0, 1, 5))[1:3]
        hits += low <= 0.76025 <= high
    assert hits / 600 > 0.93
