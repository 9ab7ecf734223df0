"""The quick autoencoder of a latent round, and emitters that climb through it."""

import numpy as np
import pytest
import torch

from lightning_pz.autoencoder.losses import fvu
from lightning_pz.common.latent_distribution import LatentDistribution
from lightning_pz.growth import emitters
from lightning_pz.growth.latent_space import train_latents
from lightning_pz.policy import Layout, Prior, act_shared, draw_params
from lightning_pz.search.algorithm_settings import PgpeSettings
from lightning_pz.search.optimizers.pgpe import Pgpe
from lightning_pz.search.spaces import latent_space, parameter_space

LAYOUT, PRIOR = Layout(2, (8,), 1), Prior()


def train(seed=0, steps=250):
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(80, 2, generator=generator)
    trained = train_latents(
        LAYOUT, PRIOR, draw_params(PRIOR, LAYOUT, 0, range(600)), states[:16], states[16:], 3, steps, seed
    )
    return trained.space(), states


@pytest.fixture(scope="module")
def trained():
    return train()


def test_it_keeps_the_behavior_of_policies_it_never_saw(trained):
    space, states = trained
    unseen = draw_params(PRIOR, LAYOUT, 1, range(200))
    rebuilt = space.decode(space.encode(unseen))
    truth = act_shared(LAYOUT, unseen, states)
    assert fvu(act_shared(LAYOUT, rebuilt, states), truth) < 0.35  # 1 for the mean policy


def test_same_seed_same_latent_space():
    unseen = draw_params(PRIOR, LAYOUT, 1, range(5))
    one, again, other = (space.decode(space.encode(unseen)) for space, _ in (train(seed, 5) for seed in (0, 0, 1)))
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_encoded_policies_are_white(trained):
    space, _ = trained
    points = space.encode(draw_params(PRIOR, LAYOUT, 0, range(600)))
    np.testing.assert_allclose(points.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(torch.cov(points.T), np.eye(3), atol=2e-2)


def test_encoding_is_the_inverse_of_decoding_where_the_networks_are():
    covariance = torch.tensor([[2.0, 0.5], [0.5, 1.0]])
    space = latent_space(lambda z: z, LatentDistribution(torch.tensor([1.0, -1.0]), covariance), lambda params: params)
    points = torch.randn(20, 2, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    torch.testing.assert_close(space.encode(space.decode(points)), points, atol=1e-5, rtol=1e-5)


def test_each_emitter_climbs_its_own_direction():
    """On outcomes that are the points themselves: after some generations each stands far along its own axis."""
    space = parameter_space(PRIOR, LAYOUT)
    directions = torch.eye(space.size)[[3, 7, 20]]
    starts = torch.zeros(3, space.size, dtype=torch.double)
    climbing = emitters.begin(Pgpe(PgpeSettings(population=10, sigma=0.3)), space, starts, [1, 2, 3])
    for _ in range(25):
        climbing, points, params, which = emitters.ask(climbing)
        torch.testing.assert_close(params, space.decode(points))
        assert which.tolist() == [0] * 10 + [1] * 10 + [2] * 10
        fitness = (points * directions[which].double()).sum(1).numpy()
        fitness[4] = np.nan  # a policy that turned non-finite counts as the worst
        climbing = emitters.tell(climbing, points, fitness, which)
    reached = torch.stack(list(emitters.incumbents(climbing)))[:, [3, 7, 20]]
    assert (reached.diagonal() > 1).all() and (reached.argmax(1) == torch.arange(3)).all()


def test_release_begins_in_weights_where_the_decoded_center_stands():
    space, _ = train(steps=5)
    weights = parameter_space(PRIOR, LAYOUT)
    starts = torch.randn(2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    climbing = emitters.begin(Pgpe(PgpeSettings(population=4)), space, starts, [1, 2])
    released = emitters.release(climbing, climbing.optimizer, weights, [3, 4])
    centers = torch.stack(list(emitters.incumbents(released)))
    torch.testing.assert_close(weights.decode(centers), space.decode(starts))
