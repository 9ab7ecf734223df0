"""CMA-ES and random search behind the same protocol."""

import pytest
import torch

from lightning_pz.common.latent_distribution import LatentDistribution
from lightning_pz.search.algorithm_settings import CmaesSettings, RandomLatentSettings
from lightning_pz.search.optimizers.cmaes import Cmaes
from lightning_pz.search.optimizers.random_latent import RandomLatent


@pytest.mark.parametrize("size", [1, 5])
def test_cmaes_converges(size):
    cmaes = Cmaes(CmaesSettings(), size)
    target = torch.linspace(-1, 1, size, dtype=torch.double)
    state = cmaes.begin(torch.full((size,), 2.0), 0)
    first = cmaes.sigma(state)
    for _ in range(150):
        state, points = cmaes.ask(state)
        assert points.shape == (cmaes.population, size)
        state = cmaes.tell(state, points, -(points - target).square().sum(1))
    assert (cmaes.incumbent(state) - target).norm() < 1e-3
    assert cmaes.sigma(state) < 0.1 * first


def test_diagonal_cmaes_finds_the_scale_of_each_of_many_coordinates():
    """An ellipsoid along the axes, in more coordinates than a full covariance could learn in these generations."""
    size, generations = 60, 200
    scales = torch.logspace(0, 2, size, dtype=torch.double)
    errors, spreads = {}, {}
    for diagonal in (False, True):
        cmaes = Cmaes(CmaesSettings(sigma=0.5, population=20), size, diagonal=diagonal)
        state = cmaes.begin(torch.ones(size), 0)
        for _ in range(generations):
            state, points = cmaes.ask(state)
            state = cmaes.tell(state, points, -(scales * points).square().sum(1))
        errors[diagonal] = float((scales * cmaes.incumbent(state)).square().sum())
        _, points = cmaes.ask(state)
        spreads[diagonal] = points.std(0)
    assert errors[True] < 0.2 * errors[False]
    assert spreads[True][:10].mean() > 5 * spreads[True][-10:].mean()


def test_cmaes_changes_no_state_and_no_global_generator():
    import numpy as np

    cmaes = Cmaes(CmaesSettings(population=6), 3)
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    state = cmaes.begin(torch.zeros(3), 1)
    (one, points), (_, again) = cmaes.ask(state), cmaes.ask(state)
    assert torch.equal(points, again)
    fitness = torch.tensor([1.0, 2.0, torch.nan, 4.0, 5.0, 6.0], dtype=torch.double)
    low = torch.nan_to_num(fitness, nan=-1e9)
    assert torch.equal(cmaes.incumbent(cmaes.tell(one, points, fitness)), cmaes.incumbent(cmaes.tell(one, points, low)))
    assert not torch.equal(cmaes.ask(cmaes.begin(torch.zeros(3), 2))[1], points)
    assert (np.random.get_state()[1] == before).all()


def test_random_latent_keeps_the_best_of_all_it_saw():
    cloud = LatentDistribution(torch.zeros(2), torch.eye(2))
    search = RandomLatent(RandomLatentSettings(population=8), cloud.sample_points)
    state, seen = search.begin(torch.zeros(2), 0), []
    for generation in range(4):
        state, points = search.ask(state)
        fitness = -(points - 1).square().sum(1)
        seen.append(torch.cat([points, fitness[:, None]], dim=1))
        if generation == 2:
            fitness[:] = torch.nan
            seen.pop()
        state = search.tell(state, points, fitness)
    table = torch.cat(seen)
    assert torch.equal(search.incumbent(state), table[table[:, 2].argmax(), :2])
    assert torch.cat(seen)[:, :2].mean().abs() < 0.5
