"""An actor decodes, offsets, and acts as the policy that is saved does; its random actions have the density they say."""

import numpy as np
import pytest
import torch

from lightning_pz.policy.saved import SavedPolicy
from lightning_pz.search.off_policy.actor import ActorStart, DecodedActor


@pytest.fixture
def actor(network, latents):
    start = ActorStart(torch.full((network.layout.num_params,), 0.1), torch.tensor([0.3, -0.2, 0.5]))
    return DecodedActor(network, start, latents.decode, with_offset=True, log_std=-1.0)


def test_weights_are_decoded_added_and_offset(actor, latents):
    with torch.no_grad():
        actor.offset[3] = 2.0
    actor.changed()
    expected = latents.decode(actor.point.detach()[None])[0] + 0.1
    expected[3] += 2
    torch.testing.assert_close(actor.params().detach(), expected)
    actor.params()[3].backward()
    assert actor.offset.grad[3] == 1 and actor.point.grad.abs().sum() > 0
    fresh = ActorStart(torch.zeros_like(actor.base), torch.zeros(3))
    actor.begin_at(fresh)
    torch.testing.assert_close(actor.params().detach(), latents.decode(torch.zeros(1, 3))[0])


def test_it_acts_as_the_saved_policy(actor, network):
    observations = torch.randn(20, 2)
    params = actor.params().detach()
    own = network.scale(torch.tanh(actor.outputs(params, network.standardize(observations))))
    torch.testing.assert_close(own, SavedPolicy.of(network, params).act(observations))


def test_random_actions_have_their_density(actor, network):
    """The density integrates to 1 over the action, and the draws follow it."""
    torch.manual_seed(0)
    state = torch.zeros(1, 2)
    with torch.no_grad():
        mean = actor.outputs(actor.params(), state)[0, 0]
        actions, log_density = actor.draw(actor.params(), state.expand(4000, -1))
        grid = torch.linspace(-0.9999, 0.9999, 4001, dtype=torch.double)
        before = torch.atanh(grid)
        normal = torch.distributions.Normal(mean.double(), float(np.exp(-1.0)))
        density = normal.log_prob(before).exp() / (1 - grid.square())
    assert float(torch.trapezoid(density, grid)) == pytest.approx(1, abs=1e-2)
    expected = normal.log_prob(torch.atanh(actions[:, 0].double())) - torch.log(
        1 - actions[:, 0].double().square() + 1e-6
    )
    torch.testing.assert_close(log_density.double(), expected, rtol=1e-3, atol=1e-3)
    assert float(actions.mean()) == pytest.approx(float(torch.trapezoid(density * grid, grid)), abs=0.02)
