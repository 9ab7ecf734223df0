"""Grids and samples of latents."""

import numpy as np
import torch

from lightning_pz.common.latent_distribution import LatentDistribution
from lightning_pz.evaluation.groups import choose_latents, grid_side


def test_grid_side_is_the_largest_that_fits():
    assert [grid_side(1, 500), grid_side(2, 500), grid_side(3, 500), grid_side(3, 512), grid_side(3, 511)] == [
        500,
        22,
        7,
        8,
        7,
    ]


def test_grid_is_in_map_order_and_centered():
    mean, covariance = torch.tensor([1.0, -2.0]), torch.diag(torch.tensor([4.0, 1.0]))
    points = choose_latents(LatentDistribution(mean, covariance), 100, seed=0)
    grid = points.reshape(10, 10, 2)
    assert (grid[:, 0, 0].diff() > 0).all() and (grid[0, :, 1].diff() > 0).all()
    assert torch.equal(grid[3, :, 0], grid[3, :1, 0].expand(10))
    torch.testing.assert_close(points.mean(0), mean)
    torch.testing.assert_close(points.amax(0) - points.amin(0), torch.tensor([10.0, 5.0]))


def test_above_three_latents_are_samples_that_repeat():
    root = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    latents = LatentDistribution(torch.arange(5.0), root @ root.T)
    points = choose_latents(latents, 40_000, seed=1)
    assert torch.equal(points, choose_latents(latents, 40_000, seed=1))
    assert not torch.equal(points, choose_latents(latents, 40_000, seed=2))
    scale = float(latents.covariance.diagonal().max())
    np.testing.assert_allclose(points.mean(0), latents.mean, atol=5 * np.sqrt(scale / 40_000))
    np.testing.assert_allclose(np.cov(points.numpy().T), latents.covariance, atol=0.05 * scale)
