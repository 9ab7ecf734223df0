"""Directions cover the sphere, come in opposites, and go first where the pool's frontier is thin."""

import numpy as np

from lightning_pz.growth.directions import covering_directions, draw_directions, random_directions, thinness


def largest_hole(directions, size):
    """Largest angle from any of many points of the sphere to the nearest direction."""
    points = np.random.default_rng(1).standard_normal((2000, size))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return np.arccos((points @ directions.T).max(1).clip(-1, 1)).max()


def test_they_are_unit_vectors_in_opposite_pairs_and_the_same_for_the_same_seed():
    outcomes = np.random.default_rng(0).standard_normal((500, 5))
    one, again = (covering_directions(outcomes, 8, np.random.default_rng(4)) for _ in range(2))
    assert one.shape == (8, 5) and np.array_equal(one, again)
    np.testing.assert_allclose(np.linalg.norm(one, axis=1), 1)
    np.testing.assert_array_equal(one[0::2], -one[1::2])


def test_they_leave_smaller_holes_than_independent_draws():
    outcomes = np.random.default_rng(0).standard_normal((2000, 4))
    covering = [largest_hole(covering_directions(outcomes, 16, np.random.default_rng(s)), 4) for s in range(5)]
    random = [largest_hole(random_directions(16, 4, np.random.default_rng(s)), 4) for s in range(5)]
    assert np.mean(covering) < 0.93 * np.mean(random)


def test_the_first_goes_where_few_have_come_far_and_not_where_a_limit_holds_them_back():
    generator = np.random.default_rng(0)
    # Unit variance in both coordinates: the first has a heavy tail, the second a wall at both ends.
    outcomes = np.stack([generator.standard_t(3, 3000) / np.sqrt(3), generator.uniform(-1.7, 1.7, 3000)], axis=1)
    first = covering_directions(outcomes, 2, generator)[0]
    assert abs(first[0]) > 0.5
    assert thinness(outcomes, np.array([[1.0, 0.0]]))[0] > thinness(outcomes, np.array([[0.0, 1.0]]))[0]


def test_thinness_of_a_uniform_pool():
    """Of numbers uniform on -1..1, 0.15 lie beyond 0.7 of the largest, whatever their scale."""
    outcomes = np.random.default_rng(0).uniform(-1, 1, (100_000, 1)) * 7
    np.testing.assert_allclose(thinness(outcomes, np.array([[1.0], [-1.0]])), -np.log(0.15), atol=0.02)


def test_draws_are_sparse_and_dense():
    used = (draw_directions(500, 16, np.random.default_rng(0)) != 0).sum(1)
    assert (used == 1).sum() > 50 and (used >= 12).sum() > 30 and used.max() <= 16
