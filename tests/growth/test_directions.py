"""Directions cover the sphere, come in opposites, and go first where the pool is thin."""

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


def test_the_first_goes_where_the_pool_is_thin():
    generator = np.random.default_rng(0)
    # Unit variance in both coordinates; far policies in the first only.
    outcomes = np.stack([generator.standard_t(3, 3000) / np.sqrt(3), generator.uniform(-1.7, 1.7, 3000)], axis=1)
    first = covering_directions(outcomes, 2, generator)[0]
    assert abs(first[1]) > 0.9
    assert thinness(outcomes, np.array([[0.0, 1.0]]))[0] > thinness(outcomes, np.array([[1.0, 0.0]]))[0]


def test_thinness_of_a_gaussian():
    outcomes = np.random.default_rng(0).standard_normal((100_000, 3))
    directions = random_directions(10, 3, np.random.default_rng(1))
    np.testing.assert_allclose(thinness(outcomes, directions), -np.log(0.02275), atol=0.1)


def test_draws_are_sparse_and_dense():
    used = (draw_directions(500, 16, np.random.default_rng(0)) != 0).sum(1)
    assert (used == 1).sum() > 50 and (used >= 12).sum() > 30 and used.max() <= 16
