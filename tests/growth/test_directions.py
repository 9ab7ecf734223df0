"""Directions cover the sphere, come in opposites, and go first where the pool is thin."""

import numpy as np

from lightning_pz.growth.directions import (
    covering_directions,
    draw_directions,
    far_thinness,
    frontier_thinness,
    random_directions,
)


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


def test_covering_goes_first_where_few_lie_far_and_frontier_where_few_keep_up_with_the_furthest():
    generator = np.random.default_rng(0)
    # Unit variance in both coordinates: the first has a heavy tail, the second a wall at both ends.
    outcomes = np.stack([generator.standard_t(3, 3000) / np.sqrt(3), generator.uniform(-1.7, 1.7, 3000)], axis=1)
    tail, wall = np.eye(2)[:1], np.eye(2)[1:]
    assert far_thinness(outcomes, wall)[0] > far_thinness(outcomes, tail)[0]
    assert frontier_thinness(outcomes, wall)[0] < frontier_thinness(outcomes, tail)[0]
    assert abs(covering_directions(outcomes, 2, np.random.default_rng(1))[0, 1]) > 0.9
    assert abs(covering_directions(outcomes, 2, np.random.default_rng(1), frontier_thinness)[0, 0]) > 0.5


def test_thinness_of_a_gaussian_and_of_a_uniform_pool():
    generator = np.random.default_rng(0)
    directions = random_directions(10, 3, generator)
    gaussian = generator.standard_normal((100_000, 3))
    np.testing.assert_allclose(far_thinness(gaussian, directions), -np.log(0.02275), atol=0.1)
    # Of a grid on -7..7, 0.15 lie beyond 0.7 of the largest.
    uniform = np.linspace(-7, 7, 100_000)[:, None]
    np.testing.assert_allclose(frontier_thinness(uniform, np.array([[1.0], [-1.0]])), -np.log(0.15), atol=1e-3)


def test_draws_are_sparse_and_dense():
    used = (draw_directions(500, 16, np.random.default_rng(0)) != 0).sum(1)
    assert (used == 1).sum() > 50 and (used >= 12).sum() > 30 and used.max() <= 16
