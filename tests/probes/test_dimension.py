"""Neighbor estimators against closed forms and likelihoods written down anew, and their standard errors against the truth."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.spatial import cKDTree
from scipy.special import betaln

from lightning_pz.common.errors import UserError
from lightning_pz.probes.dimension import gride, levina_bickel, two_nn
from lightning_pz.probes.neighbors import NeighborTable, neighbor_table


def torus_table(generator, count, dimension, neighbors):
    """Neighbors of uniform points on a flat torus, where every assumption holds: no edge, no curvature, one density."""
    tree = cKDTree(points := generator.random((count, dimension)), boxsize=1.0)
    distances, indices = tree.query(points, neighbors + 1)
    return NeighborTable(torch.from_numpy(distances[:, 1:].copy()), torch.from_numpy(indices[:, 1:].copy()))


@pytest.fixture(scope="module")
def table():
    return torus_table(np.random.default_rng(0), 800, 3, 64)


@pytest.mark.parametrize("near, far", [(1, 2), (2, 4), (8, 16), (1, 10), (32, 64)])
def test_gride_maximizes_its_likelihood(table, near, far):
    ratios = np.log((table.distances[:, far - 1] / table.distances[:, near - 1]).numpy())

    def minus_log_likelihood(d):
        density = (
            # The paper's log d, with N - 1 in place of N.
            (1 - 1 / len(ratios)) * math.log(d)
            + (far - near - 1) * np.log(np.expm1(d * ratios))
            - betaln(far - near, near)
            - ((far - 1) * d + 1) * ratios
        )
        return -density.sum()

    best = minimize_scalar(minus_log_likelihood, bounds=(0.5, 20), method="bounded", options={"xatol": 1e-9}).x
    assert gride(table, near, far).value == pytest.approx(best, rel=1e-5)


def test_the_likelihood_that_gride_maximizes_is_a_density():
    """Ratios drawn from the law of ordered distances, not from the formula: the cubes of radii are uniform order statistics."""
    generator = np.random.default_rng(3)
    near, far, d = 4, 8, 5.0
    volumes = np.cumsum(generator.exponential(size=(20_000, far)), axis=1)
    distances = torch.from_numpy(volumes ** (1 / d))
    apart = torch.arange(20_000)[:, None].expand(-1, far)  # no point is another's neighbor: independent ratios
    found = gride(NeighborTable(distances, apart), near, far)
    assert abs(found.value - d) < 3 * found.standard_error < 0.2


def test_gride_at_one_and_two_is_the_closed_form(table):
    ratios = (table.distances[:, 1] / table.distances[:, 0]).log()
    assert gride(table, 1).value == pytest.approx(float((len(ratios) - 1) / ratios.sum()), rel=1e-9)


def test_levina_bickel_is_the_closed_form_of_evenly_spaced_points_on_a_line():
    # An inner point has two neighbors at each distance 1, 2, 3, so that the sums are known.
    count, k = 2001, 6
    distances = torch.tensor([[1.0, 1, 2, 2, 3, 3]], dtype=torch.double).expand(count, -1)
    inverse = (2 * math.log(3) + 2 * math.log(1.5)) / (k - 1)
    table = NeighborTable(distances, torch.arange(count)[:, None].expand(-1, k))
    assert levina_bickel(table, k).value == pytest.approx(1 / inverse)


@pytest.mark.parametrize(
    "probe, neighbors, dimension",
    [
        (two_nn, 2, 2), (two_nn, 2, 6), (lambda t: gride(t, 1), 2, 4), (lambda t: gride(t, 4), 8, 4),
        (lambda t: levina_bickel(t, 10), 10, 3),
    ],
)  # fmt: skip
def test_standard_errors_cover_the_truth(probe, neighbors, dimension):
    """95 % intervals hold the true dimension in 90 to 99 % of 200 clouds; those for independent ratios would in fewer."""
    generator = np.random.default_rng(7)
    found = [probe(torus_table(generator, 400, dimension, neighbors)) for _ in range(200)]
    values, errors = np.array([[e.value, e.standard_error] for e in found]).T
    covered = (np.abs(values - dimension) < 1.96 * errors).mean()
    assert 0.90 <= covered <= 0.99
    assert errors.mean() == pytest.approx(values.std(), rel=0.15)


def test_a_line_through_space_has_one_dimension():
    points = torch.rand(1000, 1, generator=torch.Generator().manual_seed(0)) @ torch.ones(1, 7)
    table = neighbor_table(points, 20)
    for found in (two_nn(table), gride(table, 2), levina_bickel(table)):
        assert abs(found.value - 1) < 4 * found.standard_error + 0.02


@pytest.mark.parametrize(
    "probe, sentence",
    [
        (lambda t: two_nn(t, 1.0), "discard of at least 0 and below 1"),
        (lambda t: gride(t, 2, 2), "1 <= near < far"),
        (lambda t: gride(t, 64), "GRIDE expects 1 to 64 neighbors.*but got 128"),
        (lambda t: levina_bickel(t, 65), "Levina-Bickel expects 1 to 64 neighbors.*but got 65"),
        (lambda t: levina_bickel(t, 1), "at least 2 neighbors"),
    ],
)
def test_bad_input(table, probe, sentence):
    with pytest.raises(UserError, match=sentence):
        probe(table)


def test_ties_and_few_points_are_refused():
    ties = NeighborTable(torch.ones(9, 4, dtype=torch.double), torch.zeros(9, 4, dtype=torch.long))
    for probe in (two_nn, lambda t: gride(t, 1), lambda t: levina_bickel(t, 4)):
        with pytest.raises(UserError, match="unequal distances"):
            probe(ties)
    two = neighbor_table(torch.tensor([[0.0], [1.0]]), 1)
    with pytest.raises(UserError, match="TwoNN expects 1 to 1 neighbors"):
        two_nn(two)
