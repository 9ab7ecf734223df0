"""The steady policies of a pool: their neighbors earned much too, so that one lucky episode does not decide."""

import numpy as np
import pytest
import torch

from lightning_pz.replay import steady
from lightning_pz.replay.ranking import Ranking
from lightning_pz.replay.steady import steady_rows


def ranked(returns, places):
    """Return fingerprints of policies that act as the numbers say, two actions at three states, and their ranking."""
    returns = np.asarray(returns, dtype=float)
    fingerprints = np.repeat(np.asarray(places, dtype=np.float16)[:, None, None], 3, axis=1).repeat(2, axis=2)
    rows = np.argsort(-np.where(np.isfinite(returns), returns, -np.inf), kind="stable")
    nan = np.full(len(rows), np.nan)
    return fingerprints, Ranking("t", rows, returns[rows], nan, returns, np.nan, 0)


def test_a_lucky_policy_among_poor_ones_gives_way_to_a_good_one_among_good_ones():
    points, ranking = ranked([90, 1, 2, 3, 80, 70, 75, 60], [0, 0.1, 0.2, 0.3, 5, 5.1, 5.2, 5.4])
    assert ranking.rows[0] == 0
    # By hand: 4, 5, 6 and 7 are each other's three nearest, so their means are equal, and the one that earned most is first.
    assert steady_rows(points, ranking, 9).tolist() == [4, 6, 5, 7, 0, 3, 2, 1]
    assert steady_rows(points, ranking, 1).tolist() == [4]


def test_means_are_those_of_the_nearest(monkeypatch):
    generator = np.random.default_rng(0)
    returns, places = generator.normal(size=60), generator.normal(size=60).astype(np.float16)
    points, ranking = ranked(returns, places)
    monkeypatch.setattr(steady, "CANDIDATES", 20)
    means = {}
    for row in np.argsort(-returns)[:20]:
        away = np.abs(places.astype(float) - float(places[row]))
        means[int(row)] = returns[np.argsort(away, kind="stable")[:4]].mean()  # itself is the nearest
    found = steady_rows(points, ranking, 60)
    assert sorted(found.tolist()) == sorted(means)
    assert [means[row] for row in found.tolist()] == pytest.approx(sorted(means.values(), reverse=True))


def test_what_has_no_return_is_no_neighbor_and_threads_change_nothing():
    points, ranking = ranked([5, np.nan, 4, -np.inf, 3], [0, 0, 1, 0, 2])
    assert steady_rows(points, ranking, 5).tolist() == [0, 2, 4]
    generator = np.random.default_rng(1)
    points, ranking = ranked(generator.normal(size=2000), generator.normal(size=2000))
    before, found = torch.get_num_threads(), []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        found.append(steady_rows(points, ranking, 50).tolist())
    torch.set_num_threads(before)
    assert found[0] == found[1]


def test_two_policies_have_one_neighbor_each():
    points, ranking = ranked([2, 1], [0, 1])
    assert steady_rows(points, ranking, 3).tolist() == [0, 1]
