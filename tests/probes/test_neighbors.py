"""The shared table against brute force and scikit-learn, and what it refuses."""

import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from lightning_pz.common.errors import UserError
from lightning_pz.probes.neighbors import distinct_points, linked_variance, neighbor_table


@pytest.mark.parametrize("count, features, neighbors", [(1500, 3, 20), (200, 300, 199), (5, 1, 4)])
def test_equal_to_scikit_learn(count, features, neighbors):
    points = torch.randn(count, features, generator=torch.Generator().manual_seed(0))
    table = neighbor_table(points, neighbors)
    theirs = NearestNeighbors(n_neighbors=neighbors, algorithm="brute", metric="euclidean").fit(points.double().numpy())
    distances, indices = theirs.kneighbors()
    assert table.distances.dtype == torch.double
    assert torch.allclose(table.distances, torch.from_numpy(distances), rtol=1e-9)
    assert (table.indices == torch.from_numpy(indices)).all()


def test_close_points_far_from_the_origin_keep_their_digits():
    points = torch.tensor([[1e4, 0.0], [1e4 + 1e-6, 0.0], [1e4 + 1.0, 0.0]], dtype=torch.double)
    assert neighbor_table(points, 2).distances[0, 0].item() == pytest.approx(1e-6, rel=1e-5)


def test_duplicates_are_dropped_and_counted_by_the_rows_that_stay():
    points = torch.randn(50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    twice = torch.cat([points, points[:7]])
    kept, rows = distinct_points(twice)
    assert len(kept) == 50 and rows.tolist() == list(range(50)) and torch.equal(kept, points)
    with pytest.raises(UserError, match="drop duplicates first"):
        neighbor_table(twice, 3)


def test_the_links_are_those_of_the_dense_matrix():
    generator = torch.Generator().manual_seed(1)
    points, scores = torch.randn(80, 2, generator=generator), torch.randn(80, generator=generator, dtype=torch.double)
    indices = neighbor_table(points, 6).indices
    dense = torch.zeros(80, 80, dtype=torch.bool).scatter_(1, indices, torch.ones_like(indices, dtype=torch.bool))
    dense = (dense | dense.T | torch.eye(80, dtype=torch.bool)).double()
    expected = max(scores @ dense @ scores, scores @ scores)
    assert linked_variance(scores, indices) == pytest.approx(float(expected))
    # Scores that cancel along every link would give less than independence; that is never claimed.
    assert linked_variance(torch.ones(80, dtype=torch.double), indices) > 80 * 6


@pytest.mark.parametrize(
    "points, neighbors, sentence",
    [
        (torch.randn(10, 2), 10, "has 1 to 9 a point, but 10"),
        (torch.randn(10, 2), 0, "has 1 to 9 a point, but 0"),
        (torch.ones(10, 2), 3, "all 10 are equal"),
        (torch.randn(1, 2), 1, "at least 2 distinct points, but got 1"),
        (torch.tensor([[0.0], [float("nan")], [1.0]]), 1, "1 of 3 points have others, first row 1"),
    ],
)
def test_bad_input(points, neighbors, sentence):
    with pytest.raises(UserError, match=sentence):
        neighbor_table(points, neighbors)


def test_all_equal_points_are_one():
    assert len(distinct_points(torch.ones(5, 3))[0]) == 1
