"""A small Mountain Car problem and an untrained decoder, which are enough to search."""

from dataclasses import replace

import pytest
import torch

from lightning_pz.autoencoder.decoders import Decoder
from lightning_pz.common.latent_distribution import LatentDistribution
from lightning_pz.envs.specs import EnvSpec
from lightning_pz.envs.tasks import find_task
from lightning_pz.policy import Layout, PolicyNetwork, Prior, prior_scale
from lightning_pz.search.objective import Objective, Problem
from lightning_pz.search.spaces import SearchSpace, latent_space, parameter_space


@pytest.fixture(scope="session")
def network(car: EnvSpec) -> PolicyNetwork:
    mean, std = torch.tensor([-0.4, 0.0]), torch.tensor([0.4, 0.03])
    return PolicyNetwork(Layout(2, (8,), 1), mean, std, torch.tensor(car.action_low), torch.tensor(car.action_high))


@pytest.fixture(scope="session")
def problem(network: PolicyNetwork, car: EnvSpec) -> Problem:
    return Problem(network, car, "standard", find_task(car.id, "standard"))


@pytest.fixture(scope="session")
def short_problem(network: PolicyNetwork, car: EnvSpec) -> Problem:
    """The same with episodes of 60 steps, where their length does not matter."""
    return Problem(network, replace(car, horizon=60), "standard", find_task(car.id, "standard"))


@pytest.fixture
def objective(problem: Problem) -> Objective:
    return Objective(problem)


@pytest.fixture(scope="session")
def latents(network: PolicyNetwork) -> SearchSpace:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        decoder = Decoder(3, prior_scale(Prior(), network.layout), [16], last_gain=2.0).eval().requires_grad_(False)
    covariance = torch.tensor([[2.0, 0.5, 0.0], [0.5, 1.0, 0.1], [0.0, 0.1, 0.5]])
    return latent_space(decoder, LatentDistribution(torch.tensor([0.5, -0.2, 0.0]), covariance))


@pytest.fixture(scope="session")
def weights(network: PolicyNetwork) -> SearchSpace:
    return parameter_space(Prior(), network.layout)
