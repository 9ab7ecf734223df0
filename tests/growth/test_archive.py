"""What stays lies apart, is bounded, and is the same every time."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from lightning_pz.common.threads import one_thread
from lightning_pz.growth.archive import nearest_others, thin_out


def test_nearest_neighbors_are_those_of_scikit_learn():
    points = np.random.default_rng(0).standard_normal((1500, 6))
    distance, number = nearest_others(points)
    expected, indices = NearestNeighbors(n_neighbors=2).fit(points).kneighbors()
    indices, expected = indices[:, 0], expected[:, 0]
    np.testing.assert_allclose(distance, expected, atol=1e-4)
    assert (number == indices).mean() > 0.999


def test_threads_find_the_same():
    points = np.random.default_rng(0).standard_normal((3000, 6))
    with one_thread():
        one, three = (thin_out(points, 2500, threads=threads) for threads in (1, 3))
    np.testing.assert_array_equal(one, three)


def test_duplicates_go_and_the_older_stays():
    points = np.random.default_rng(0).standard_normal((100, 4))
    repeated = np.concatenate([points, points[:30] + 1e-5, points[:10]])
    assert thin_out(repeated, 1000).tolist() == list(range(100))


@pytest.mark.parametrize("size", [1, 37, 300])
def test_it_is_bounded_and_what_stays_lies_further_apart_than_a_random_choice(size):
    generator = np.random.default_rng(0)
    points = np.concatenate([0.05 * generator.standard_normal((500, 3)), generator.standard_normal((200, 3))])
    kept = thin_out(points, size)
    assert len(kept) == size and (np.diff(kept) > 0).all()
    assert np.array_equal(kept, thin_out(points, size))
    if size > 1:
        random = generator.choice(700, size, replace=False)
        assert nearest_others(points[kept])[0].min() > 2 * nearest_others(points[random])[0].min()


def test_a_dense_cluster_is_thinned_not_emptied():
    generator = np.random.default_rng(0)
    cluster, rest = 0.2 * generator.standard_normal((400, 2)), 10 * generator.standard_normal((100, 2))
    kept = thin_out(np.concatenate([cluster, rest]), 110)
    assert 5 < (kept < 400).sum() < 60


def test_fewer_than_there_is_room_for_stay_as_they_are():
    points = np.random.default_rng(0).standard_normal((20, 2))
    assert thin_out(points, 20).tolist() == list(range(20))
    assert thin_out(points[:1], 5).tolist() == [0]
