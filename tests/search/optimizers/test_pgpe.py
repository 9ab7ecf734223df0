"""PGPE converges where it must, and its gradients have the mean that calculus gives them."""

import math

import pytest
import torch

from lightning_pz.search.algorithm_settings import PgpeSettings
from lightning_pz.search.optimizers.clipup_adam import adam, adam_step, clipup, clipup_step
from lightning_pz.search.optimizers.pgpe import Pgpe, center_gradient, sigma_gradient


def maximize(function, start, generations, settings, seed=0):
    pgpe = Pgpe(settings)
    state = pgpe.begin(start, seed)
    for _ in range(generations):
        state, points = pgpe.ask(state)
        state = pgpe.tell(state, points, function(points))
    return state


@pytest.mark.parametrize("optimizer, distance", [("clipup", 0.1), ("adam", 1e-6)])
def test_converges_on_a_quadratic(optimizer, distance):
    """ClipUp's steps have a length of their own, so it circles the top that Adam settles on."""
    target = torch.linspace(-1, 1, 6, dtype=torch.double)
    settings = PgpeSettings(
        population=40, sigma=0.5, optimizer=optimizer, sigma_rate=0.1, max_speed=0.03, learning_rate=0.3
    )
    state = maximize(lambda x: -(x - target).square().sum(1), torch.zeros(6) + 3, 1000, settings)
    assert (state.center - target).norm() < distance
    # Near the top a narrow distribution is better than a wide one: sigma has to shrink.
    assert state.sigma.max() < 0.05


def test_converges_on_rosenbrock():
    def rosenbrock(x):
        return -(100 * (x[:, 1:] - x[:, :-1].square()).square() + (1 - x[:, :-1]).square()).sum(1)

    settings = PgpeSettings(population=60, sigma=0.1, optimizer="adam", sigma_rate=0.1, learning_rate=0.3)
    start = torch.tensor([-1.0, 1.0], dtype=torch.double)
    assert float(rosenbrock(start[None])) == -4.0
    state = maximize(rosenbrock, start, 2000, settings)
    assert (state.center - 1).abs().max() < 1e-4


@pytest.mark.parametrize("baseline", [0.0, -7.0])
def test_gradients_are_unbiased_on_a_quadratic(baseline):
    """For f = -sum c x^2 and x ~ N(m, s^2): E f = -sum c (m^2 + s^2), so the gradients are -2 c m and -2 c s."""
    generator = torch.Generator().manual_seed(0)
    c, m, s = (torch.tensor(v, dtype=torch.double) for v in ([1.0, 0.5, 2.0], [0.7, -1.0, 0.0], [1.0, 0.4, 0.8]))

    def f(x):
        return -(c * x.square()).sum(-1)

    noise = torch.randn(8000, 25, 3, generator=generator, dtype=torch.double)
    plus, minus = f(m + s * noise), f(m - s * noise)
    by_center = torch.stack([center_gradient(*sample, s) for sample in zip(noise, plus, minus, strict=True)])
    by_sigma = torch.stack([sigma_gradient(*sample, s, baseline) for sample in zip(noise, plus, minus, strict=True)])
    for estimates, exact in ((by_center, -2 * c * m), (by_sigma, -2 * c * s)):
        error = estimates.std(0) / math.sqrt(len(estimates))
        z = (estimates.mean(0) - exact) / error
        assert z.abs().max() < 4, (estimates.mean(0), exact)
        # The test can tell the right value from none at all, where there is one.
        assert ((exact / error).abs()[exact != 0] > 8).all()


def test_sigma_changes_by_at_most_its_bound():
    settings = PgpeSettings(population=20, sigma=1.0, sigma_rate=1e6)
    pgpe = Pgpe(settings)
    state, points = pgpe.ask(pgpe.begin(torch.zeros(5), 0))
    told = pgpe.tell(state, points, -points.square().sum(1))
    ratio = told.sigma / state.sigma
    assert torch.allclose((ratio - 1).abs(), torch.full_like(ratio, 0.2))


def test_asking_and_telling_changes_no_state_and_repeats_itself():
    pgpe = Pgpe(PgpeSettings(population=6))
    first = pgpe.begin(torch.ones(3), 7)
    copy = [part.clone() for part in (first.center, first.sigma, first.generator)]
    (one, points), (two, again) = pgpe.ask(first), pgpe.ask(first)
    assert torch.equal(points, again)
    assert torch.equal(points[0] + points[1], 2 * first.center)
    pgpe.tell(one, points, points.sum(1))
    for before, part in zip(copy, (first.center, first.sigma, first.generator), strict=True):
        assert torch.equal(before, part)
    assert not torch.equal(pgpe.ask(two)[1], points)


def test_a_member_that_is_not_finite_counts_as_the_worst():
    pgpe = Pgpe(PgpeSettings(population=4))
    state, points = pgpe.ask(pgpe.begin(torch.zeros(2), 0))
    fitness = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.double)
    broken, low = fitness.clone(), fitness.clone()
    broken[1], low[1] = torch.nan, -1e9
    assert torch.equal(pgpe.tell(state, points, broken).center, pgpe.tell(state, points, low).center)


def test_clipup_and_adam_against_their_formulas():
    state, gradient = clipup(2, 0.3, 0.9), torch.tensor([3.0, 4.0], dtype=torch.double)
    state, step = clipup_step(state, gradient)
    assert step.tolist() == pytest.approx([0.15 * 0.6, 0.15 * 0.8])
    for _ in range(20):
        state, step = clipup_step(state, gradient)
    assert float(step.norm()) == pytest.approx(0.3)
    assert clipup_step(clipup(2, 0.3, 0.9), torch.zeros(2, dtype=torch.double))[1].tolist() == [0, 0]

    point = torch.tensor([1.0, -2.0], dtype=torch.double, requires_grad=True)
    reference = torch.optim.Adam([point], lr=0.1, maximize=True)
    ours, mover = point.detach().clone(), adam(point.detach(), 0.1)
    for _ in range(5):
        point.grad = torch.cos(point.detach())
        mover, step = adam_step(mover, torch.cos(ours))
        ours = ours + step
        reference.step()
    assert torch.allclose(ours, point.detach(), atol=1e-12)
