"""The Gaussian process against scikit-learn's, and the value of an episode against simulated ones."""

import math

import numpy as np
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

from lightning_pz.search.gaussian_process import (
    FORM,
    MEAN,
    Policies,
    Posterior,
    condition,
    hyperparameter_grid,
    knowledge_gradient,
)

ALL = 75  # Combinations of hyperparameters


def policies(count, size, forms=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(count, size, generator=generator, dtype=torch.double)
    return Policies(points, torch.randint(forms, (count,), generator=generator))


def test_the_posterior_is_that_of_scikit_learn():
    """With one form, the kernel is a Matern kernel and a constant; episodes divide the noise."""
    tried, others = policies(12, 3), policies(5, 3, seed=1)
    returns = tried.points.sum(1) + 7
    episodes = torch.tensor([1.0, 2.0, 5.0] * 4, dtype=torch.double)
    process = condition(tried, returns, episodes, ALL)
    known = process.posterior(others)
    center = float((returns * episodes).sum() / episodes.sum())
    likelihoods = []
    some = range(0, ALL, 9)
    for i in some:
        length, noise = process.hyperparameters.length[i], process.hyperparameters.noise[i]
        kernel = ConstantKernel(MEAN + FORM) + Matern(float(length), nu=2.5)
        model = GaussianProcessRegressor(kernel, alpha=(noise / episodes).numpy(), optimizer=None)
        model.fit(tried.points.numpy(), returns.numpy() - center)
        every = torch.cat([tried.points, others.points]).numpy()
        mean, covariance = model.predict(every, return_cov=True)
        scale = float(process.scale[i])
        torch.testing.assert_close(known.mean[i], torch.from_numpy(mean) + center)
        torch.testing.assert_close(known.variance[i], torch.from_numpy(covariance.diagonal() * scale))
        torch.testing.assert_close(known.covariance[i], torch.from_numpy(covariance[:12] * scale))
        assert float(known.noise[i]) == pytest.approx(scale * float(noise))
        # Integrated over the scale, which scikit-learn does not do; its likelihood at the best scale differs by a constant.
        whole = scale * (len(returns) - 1) / len(returns)
        best = GaussianProcessRegressor(
            ConstantKernel(whole, "fixed") * kernel, alpha=(whole * noise / episodes).numpy(), optimizer=None
        ).fit(tried.points.numpy(), returns.numpy() - center)
        likelihoods.append(best.log_marginal_likelihood_value_ + 0.5 * math.log(whole))
    expected = torch.tensor(likelihoods, dtype=torch.double).softmax(0)
    weight = process.weight[list(some)]
    torch.testing.assert_close(weight / weight.sum(), expected, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(known.expected, process.weight @ known.mean)


def test_noise_and_length_scale_are_learned():
    """Of a smooth function with much noise and of a rough one with none, by the same points."""
    tried = policies(60, 2)
    generator = torch.Generator().manual_seed(1)
    smooth = tried.points.sum(1) + torch.randn(60, generator=generator, dtype=torch.double)
    rough = torch.sin(25 * tried.points).sum(1)
    ones = torch.ones(60, dtype=torch.double)
    means = [
        [float(process.weight @ value.log()) for value in process.hyperparameters[:2]]
        for process in (condition(tried, smooth, ones, ALL), condition(tried, rough, ones, ALL))
    ]
    assert means[0][0] > means[1][0] + 1


def test_policies_of_another_form_share_what_the_data_says():
    """Where a second form earns what the first does at the same point, untried ones of it are predicted, else not."""
    points = policies(40, 2).points
    function = torch.sin(2 * points[:, 0]) + points[:, 1]
    tried = Policies(torch.cat([points, points[:20]]), torch.tensor([0] * 40 + [1] * 20))
    others, episodes = Policies(points[20:], torch.ones(20, dtype=torch.long)), torch.ones(60, dtype=torch.double)
    alike = condition(tried, torch.cat([function, function[:20] - 3]), episodes).posterior(others).expected[60:]
    other = torch.randn(20, generator=torch.Generator().manual_seed(3), dtype=torch.double)
    unlike = condition(tried, torch.cat([function, other - 3]), episodes).posterior(others).expected[60:]
    error = (alike - (function[20:] - 3)).square().mean().sqrt()
    assert error < 0.3 and (unlike - (function[20:] - 3)).square().mean().sqrt() > 2 * error


def test_the_knowledge_gradient_is_the_mean_rise_over_simulated_episodes():
    tried, others = policies(6, 2, 2), policies(4, 2, 2, seed=1)
    returns = tried.points[:, 0]
    known = condition(tried, returns, torch.ones(6, dtype=torch.double)).posterior(others)
    found = knowledge_gradient(known)
    rng, rise = np.random.default_rng(0), torch.zeros(10)
    half = torch.from_numpy(rng.standard_normal(20_000))
    draws = torch.cat([half, -half])
    for i in range(10):
        for g, weight in enumerate(known.weight):
            # The new posterior means, by Bayes' rule for one return of policy i.
            spread = (known.variance[g, i] + known.noise[g]).sqrt()
            gain = known.covariance[g, :, i] / spread
            after = known.mean[g, :6] + draws[:, None] * gain
            own = known.mean[g, i] + draws * known.variance[g, i] / spread
            best = torch.maximum(after.amax(1), own)
            rise[i] += float(weight * (best.mean() - known.mean[g, :6].max()))
    torch.testing.assert_close(found.float(), rise, rtol=0.05, atol=0.02 * float(found.max()))
    assert (found > -1e-9).all()


def test_means_after_an_episode_are_those_of_the_process_given_it():
    """The moves that the knowledge gradient takes are those that one more return would make."""
    tried = policies(5, 2)
    returns, ones = tried.points[:, 0], torch.ones(5, dtype=torch.double)
    other = policies(1, 2, seed=1)
    process = condition(tried, returns, ones, ALL)
    known = process.posterior(other)
    seen = float(returns.mean())  # leaves the center where it was
    after = condition(
        Policies(torch.cat([tried.points, other.points]), torch.cat([tried.forms, other.forms])),
        torch.cat([returns, torch.tensor([seen], dtype=torch.double)]), torch.ones(6, dtype=torch.double), ALL,
    )  # fmt: skip
    # Keep the order of the grid, which is by plausibility.
    order = [[float(v) for v in row] for row in torch.stack(list(after.hyperparameters), 1)]
    means = after.posterior().mean
    for g, row in enumerate(torch.stack(list(process.hyperparameters), 1).tolist()):
        surprise = (seen - known.mean[g, 5]) / (known.variance[g, 5] + known.noise[g])
        moved = known.mean[g, :5] + known.covariance[g, :, 5] * surprise
        torch.testing.assert_close(moved, means[order.index(row), :5])


def test_the_value_of_an_episode_is_plain_where_it_is_plain():
    """A sure thing has no value, nor one that cannot be best; of two the more uncertain one is worth more."""
    mean = torch.tensor([[1.0, 1.0, 0.0, 1.0, 1.0]], dtype=torch.double)
    variance = torch.tensor([[1e-12, 1e-12, 1e-4, 0.5, 1.0]], dtype=torch.double)
    covariance = torch.zeros(1, 2, 5, dtype=torch.double)
    one = torch.ones(1, dtype=torch.double)
    value = knowledge_gradient(Posterior(one, mean, variance, covariance, 0 * one))
    assert value[:3].abs().max() < 1e-6 and value[4] > value[3] > 0
    # The mean of the positive part of a normal variable; the quadrature is good to a percent.
    assert float(value[4]) == pytest.approx(1 / math.sqrt(2 * math.pi), rel=0.01)
    assert (knowledge_gradient(Posterior(one, mean, variance, covariance, one)) < value + 1e-12).all()


def test_the_first_episode_and_equal_returns_are_no_problem():
    for returns in ([5.0], [5.0, 5.0], [0.0, 0.0, 0.0]):
        y = torch.tensor(returns, dtype=torch.double)
        tried = policies(len(y), 4)
        known = condition(tried, y, torch.ones_like(y)).posterior(policies(3, 4, seed=2))
        assert torch.isfinite(knowledge_gradient(known)).all()
        torch.testing.assert_close(known.expected, torch.full((len(y) + 3,), returns[0], dtype=torch.double))
    assert len(hyperparameter_grid(4).length) == ALL
