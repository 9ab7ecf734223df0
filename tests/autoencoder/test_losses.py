"""Losses against scikit-learn and their definitions."""

from typing import get_args

import pytest
import torch
from sklearn.metrics import r2_score

from lightning_pz.autoencoder import losses
from lightning_pz.autoencoder.losses import Reconstruction


def test_fvu_is_one_minus_variance_weighted_r2():
    target, guess = torch.rand(2, 30, 7, 2, generator=torch.Generator().manual_seed(0))
    r2 = r2_score(target.flatten(1).numpy(), guess.flatten(1).numpy(), multioutput="variance_weighted")
    assert losses.fvu(guess, target) == pytest.approx(1 - r2, rel=1e-6)


def test_fvu_landmarks():
    target = torch.rand(20, 4, 1)
    assert losses.fvu(target, target) == 0
    assert losses.fvu(target.mean(0).expand_as(target), target) == pytest.approx(1, rel=1e-6)
    alike = torch.zeros(5, 4, 1)
    assert losses.fvu(alike + 1, alike) != losses.fvu(alike + 1, alike)  # documented NaN


def test_behavior_loss_of_the_mean_policy_is_one():
    target = torch.randn(4000, 6, 2, generator=torch.Generator().manual_seed(0)) * 0.3
    variance = float(target.var(0).mean())
    assert float(losses.behavior(Reconstruction(target.mean(0).expand_as(target), target, variance))) == pytest.approx(
        1, rel=1e-3
    )


def test_behavior_rms_is_the_mean_root():
    target, guess = torch.rand(2, 9, 5, 2)
    expected = torch.stack([((g - t) ** 2).mean().sqrt() for g, t in zip(guess, target, strict=True)]).mean()
    torch.testing.assert_close(losses.behavior_rms(Reconstruction(guess, target, 0.25)), expected / 0.5)


def test_behavior_rms_has_a_gradient_at_zero():
    guess = torch.zeros(2, 3, 1, requires_grad=True)
    losses.behavior_rms(Reconstruction(guess, torch.zeros(2, 3, 1), 1.0)).backward()
    assert torch.isfinite(guess.grad).all()


def test_parameters_loss_is_in_prior_units_and_skips_fixed_ones():
    params, target = torch.tensor([[1.0, 2.0, 9.0]]), torch.tensor([[0.0, 0.0, 0.0]])
    nothing = torch.empty(0)
    loss = losses.parameters(Reconstruction(nothing, nothing, 1.0, params, target, torch.tensor([1.0, 2.0, 0.0])))
    assert float(loss) == pytest.approx((1 + 1) / 2)


def test_every_name_in_the_type_has_a_loss():
    assert tuple(losses.LOSSES) == get_args(losses.Loss)
