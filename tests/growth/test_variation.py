"""Children of pairs of kept policies, against the moments that the paper's formula gives."""

import numpy as np
import torch

from lightning_pz.growth.variation import IsoLineVariation, Parents
from lightning_pz.search.optimizers.protocol import Optimizer

START = torch.zeros(3)


def every(points):
    return Parents(len(points), np.arange(len(points)), points)


def test_children_spread_about_their_first_parent_along_the_line_to_the_second():
    parents = torch.tensor([[0.0, 0.0, 0.0], [10.0, 0.0, 0.0]])
    variation = IsoLineVariation(every(parents), 40_000, 0.1)
    _, children = variation.ask(variation.begin(START, 5))
    # x1 + N(0, 0.1^2 I) + N(0, 0.2^2) (x2 - x1): half of the pairs are a policy with itself.
    first, x = children[:, 0], children[:, 0].numpy()
    np.testing.assert_allclose(children[:, 1:].std(0), 0.1, rtol=0.02)
    np.testing.assert_allclose([x.mean(), x.var()], [5, 25 + 0.1**2 + 0.5 * (0.2 * 10) ** 2], rtol=0.02)
    assert ((first < -1).any() and (first > 11).any()) and float(children[:, 1].mean().abs()) < 0.002


def test_it_is_an_optimizer_that_draws_the_same_again_and_learns_nothing():
    variation = IsoLineVariation(every(torch.randn(50, 3, generator=torch.Generator().manual_seed(0))), 8, 0.1)
    assert isinstance(variation, Optimizer)
    state, children = variation.ask(variation.begin(START, 5))
    torch.testing.assert_close(variation.ask(variation.begin(START, 5))[1], children)
    assert not torch.equal(variation.ask(variation.begin(START, 6))[1], children)
    assert not torch.equal(variation.ask(state)[1], children)
    assert variation.tell(state, children, torch.ones(8)) is state
    assert torch.equal(variation.incumbent(state), START.double()) and variation.sigma(state) == 0.1
