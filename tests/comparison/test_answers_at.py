"""Verdicts after some episodes, against loops written out."""

import itertools

import numpy as np
import pytest

from lightning_pz.comparison.answers_at import area_by_episodes, decide_at, improvement


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
