"""Priors: regeneration to the last bit, and the moments that their definitions promise."""

import math

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from lightning_pz.common.errors import UserError
from lightning_pz.policy import INITIALIZERS, Layout, Prior, draw_params, prior_scale

LAYOUT = Layout(6, (40, 10), 2)


@pytest.mark.parametrize("initializer", INITIALIZERS)
def test_any_policy_alone_equals_itself_in_any_batch(initializer):
    prior = Prior(initializer, 1.3, 0.7)
    batch = draw_params(prior, LAYOUT, 5, [3, 9, 0, 70_000])
    for row, index in enumerate([3, 9, 0, 70_000]):
        assert torch.equal(draw_params(prior, LAYOUT, 5, [index])[0], batch[row])
    assert torch.equal(draw_params(prior, LAYOUT, 5, np.array([0, 3])), batch[[2, 0]])


def test_seeds_and_indices_give_different_policies():
    rows = torch.cat([draw_params(Prior(), LAYOUT, seed, range(3)) for seed in (0, 1)])
    assert len(torch.unique(rows, dim=0)) == 6


@pytest.mark.parametrize("initializer", INITIALIZERS)
def test_moments_are_those_of_prior_scale(initializer):
    prior = Prior(initializer, 1.5, 0.5)
    draws = draw_params(prior, LAYOUT, 0, range(4000))
    scale = prior_scale(prior, LAYOUT)
    # Four standard errors of a standard deviation over 4,000 draws, and of a mean.
    assert ((draws.std(0) / scale - 1).abs() < 4 / math.sqrt(2 * 4000)).float().mean() > 0.995
    assert ((draws.mean(0) / scale).abs() < 4 / math.sqrt(4000)).float().mean() > 0.995


def test_torch_default_has_torchs_bounds():
    layers = LAYOUT.unpack(draw_params(Prior("torch_default"), LAYOUT, 0, range(500)))
    for (weight, bias), (_, size) in zip(layers, LAYOUT.weight_shapes, strict=True):
        bound = 1 / math.sqrt(size)
        for values in (weight, bias):
            assert 0.98 * bound < values.abs().max() <= bound * (1 + 1e-6)


def test_orthogonal_weights_are_orthogonal():
    for weight, _ in LAYOUT.unpack(draw_params(Prior("orthogonal", 2.0), LAYOUT, 0, range(3))):
        small = weight if weight.shape[1] <= weight.shape[2] else weight.mT
        product = small @ small.mT
        torch.testing.assert_close(product, 4 * torch.eye(small.shape[1]).expand_as(product), atol=1e-5, rtol=0)


def test_no_biases():
    for _, bias in LAYOUT.unpack(draw_params(Prior(bias_scale=0.0), LAYOUT, 0, range(3))):
        assert not bias.any()


@pytest.mark.parametrize("change", [{"initializer": "fan_in"}, {"gain": -1.0}, {"bias_scale": float("nan")}])
def test_bad_priors_are_refused(change):
    # A test checks types as well, and they come first.
    with pytest.raises((UserError, TypeCheckError), match=r"expects|Expected"):
        Prior(**change)
