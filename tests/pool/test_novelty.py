"""Novelty against scikit-learn, and the choices that follow from it."""

import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from lightning_pz.common.errors import UserError
from lightning_pz.pool.novelty import first_of_each, most_novel, novelty, novelty_contrast


def reference(points, neighbors):
    index = NearestNeighbors(n_neighbors=neighbors + 1, algorithm="brute").fit(points.double().numpy())
    distances, _ = index.kneighbors()
    return torch.from_numpy(distances[:, :neighbors].mean(1))


@pytest.mark.parametrize("size, features, neighbors", [(50, 3, 4), (2500, 20, 15)])
def test_equals_scikit_learn(size, features, neighbors):
    points = torch.randn(size, features, generator=torch.Generator().manual_seed(0)) + 5
    expected = reference(points, neighbors)
    torch.testing.assert_close(novelty(points, neighbors).double(), expected, rtol=1e-5, atol=1e-6)


def test_close_points_keep_their_digits():
    """Pairs a millionth apart, far from the origin: the product alone would lose the distance."""
    generator = torch.Generator().manual_seed(1)
    base = torch.rand(300, 40, generator=generator) * 2 - 1
    points = torch.cat([base, base + 1e-4 * torch.randn(300, 40, generator=generator)])
    expected = reference(points, 1)
    torch.testing.assert_close(novelty(points, 1).double(), expected, rtol=2e-3, atol=0)


@pytest.mark.slow
def test_kept_set_agrees_with_the_exact_one_at_20_000():
    generator = torch.Generator().manual_seed(2)
    points = torch.tanh(torch.randn(20_000, 12, generator=generator) @ torch.randn(12, 128, generator=generator) / 3)
    kept = set(most_novel(novelty(points, 15), 0.1).tolist())
    exact = set(most_novel(reference(points, 15), 0.1).tolist())
    assert len(kept & exact) >= 0.98 * len(exact)


@pytest.mark.parametrize("neighbors", [0, 10, 11])
def test_needs_more_points_than_neighbors(neighbors):
    with pytest.raises(UserError, match="--neighbors expects 1 to 9"):
        novelty(torch.randn(10, 2), neighbors)


def test_most_novel_keeps_the_top_in_order():
    scores = torch.tensor([0.1, 5.0, 3.0, 5.0, 0.2])
    assert most_novel(scores, 0.4).tolist() == [1, 3]
    assert most_novel(scores, 0.6).tolist() == [1, 2, 3]
    assert most_novel(scores, 0.01).tolist() == [1]


def test_identical_rows_count_once():
    rows = torch.randn(6, 5)
    points = torch.cat([rows, rows[[4, 0]], rows[[2]] + 1e-6])
    assert first_of_each(points).tolist()[:6] == [0, 1, 2, 3, 4, 5]
    assert len(first_of_each(points[:8])) == 6


def test_contrast_is_a_ratio_of_medians_or_none_where_most_are_alike():
    assert novelty_contrast(torch.tensor([2.0, 4.0, 9.0]), torch.tensor([1.0, 2.0, 3.0])) == 2
    assert novelty_contrast(torch.tensor([2.0]), torch.tensor([0.0, 0.0, 5.0])) is None
