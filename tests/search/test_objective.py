"""Returns and step counts against a plain Gymnasium loop; the search spaces against their definitions."""

import gymnasium
import numpy as np
import pytest
import torch

from lightning_pz.common.latent_distribution import LatentDistribution
from lightning_pz.envs.episode_seeds import EVALUATION_SEEDS, TEST_SEEDS, episode_seeds, seed_of
from lightning_pz.envs.episodes import record_episodes
from lightning_pz.envs.simulators import make_simulator
from lightning_pz.envs.specs import env_spec
from lightning_pz.envs.tasks import find_task
from lightning_pz.policy import Layout, Prior
from lightning_pz.policy.saved import SavedPolicy
from lightning_pz.search.spaces import latent_space, parameter_space


def gymnasium_episode(act, env_id, seed):
    env = gymnasium.make(env_id)
    observation, _ = env.reset(seed=seed)
    total, steps, ended = 0.0, 0, False
    while not ended:
        observation, reward, terminated, truncated, _ = env.step(act(observation))
        total, steps, ended = total + reward, steps + 1, terminated or truncated
    return total, steps


def by_policy(policy):
    return lambda observation: policy.act(torch.from_numpy(np.float32(observation))[None])[0].numpy()


def test_returns_and_steps_equal_gymnasiums(objective, weights, network):
    params, seeds = weights.decode(weights.draw(3, 4)), [5, 6]
    found = objective(params, seeds)
    expected = [
        [gymnasium_episode(by_policy(SavedPolicy.of(network, row)), "MountainCarContinuous-v0", s) for s in seeds]
        for row in params
    ]
    assert found.each == pytest.approx(np.array(expected)[:, :, 0], abs=1e-3)
    assert found.mean == pytest.approx(np.array(expected)[:, :, 0].mean(1), abs=1e-3)
    assert found.steps == int(np.array(expected)[:, :, 1].sum())


@pytest.mark.parametrize("env_id", ["Hopper-v5", "MountainCarContinuous-v0"])
def test_playing_any_policy_equals_gymnasium(env_id):
    spec, generator = env_spec(env_id), torch.Generator().manual_seed(0)
    layout = Layout(spec.observation_size, (6,), spec.action_size, "relu")
    ones = torch.ones(spec.observation_size)
    box = torch.tensor(spec.action_low), torch.tensor(spec.action_high)
    policy = SavedPolicy(layout, torch.randn(layout.num_params, generator=generator), 0 * ones, ones, *box, "clip")

    def act(observations, active):
        return policy.act(torch.from_numpy(np.float32(observations[active]))).numpy()

    episodes = record_episodes(act, make_simulator(spec, 4), [3, 4, 5], find_task(env_id, "standard"), spec.horizon)
    expected = np.array([gymnasium_episode(by_policy(policy), env_id, seed) for seed in (3, 4, 5)])
    assert episodes.returns() == pytest.approx(expected[:, 0], rel=1e-3)
    assert episodes.lengths.tolist() == expected[:, 1].tolist() and episodes.steps == expected[:, 1].sum()
    assert episodes.mask().sum() == episodes.steps
    assert episodes.observations.shape == (3, expected[:, 1].max(), spec.observation_size)


def test_a_policy_that_overflows_is_invalid_and_the_others_are_as_ever(objective, weights):
    params = weights.decode(weights.draw(3, 4))
    broken = params.clone()
    broken[1] = torch.inf
    whole, found = objective(params, [1]), objective(broken, [1])
    assert np.isnan(found.mean[1])
    assert found.mean[[0, 2]].tolist() == whole.mean[[0, 2]].tolist()


def test_the_simulator_is_kept(objective, weights):
    params = weights.decode(weights.draw(4, 4))
    objective(params, [1, 2])
    kept = objective._simulator
    objective(params[:2], [1])
    assert objective._simulator is kept and kept.size == 8


def test_latents_are_whitened(network):
    mean, factor = torch.tensor([1.0, -2.0]), torch.tensor([[2.0, 0.0], [1.0, 0.5]])
    space = latent_space(lambda z: z, LatentDistribution(mean, factor @ factor.T))
    points = torch.randn(200_000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    latents = space.decode(points)
    assert torch.allclose(latents.mean(0), mean, atol=0.02)
    assert torch.allclose(torch.cov(latents.T), factor @ factor.T, atol=0.05)
    # One-to-one, along the Cholesky factor: the first latent depends on the first coordinate alone.
    assert torch.allclose(space.decode(torch.tensor([[1.0, 5.0]]))[0, 0], torch.tensor(3.0), atol=1e-4)
    assert torch.equal(space.decode(space.draw(3, 0)[:1])[0], mean)


def test_a_latent_without_variance_is_no_obstacle():
    space = latent_space(lambda z: z, LatentDistribution(torch.zeros(2), torch.tensor([[1.0, 0.0], [0.0, 0.0]])))
    assert torch.isfinite(space.decode(torch.ones(1, 2))).all()


def test_the_parameter_space_is_measured_in_the_prior(layout):
    space = parameter_space(Prior(gain=3.0), layout)
    points = space.draw(400, 0)
    assert points.std() == pytest.approx(1.0, abs=0.01)
    params = space.decode(points)
    assert torch.allclose(space.encode(params), points, atol=1e-6)
    first = params[:, : layout.split_sizes[0]]
    assert float(first.std()) == pytest.approx(3 / 2**0.5, rel=0.05)
    frozen = parameter_space(Prior(bias_scale=0.0), layout)
    assert torch.isfinite(frozen.draw(2, 0)).all() and not frozen.decode(torch.ones(1, layout.num_params))[0, -1]


def test_seeds_of_search_evaluation_and_test_are_apart():
    seen = [seed for run in range(20) for generation in range(50) for seed in episode_seeds(run, generation, 4)]
    assert len(set(seen)) == len(seen) and min(seen) > TEST_SEEDS > EVALUATION_SEEDS
    assert episode_seeds(1, 2, 3) == episode_seeds(1, 2, 3) != episode_seeds(2, 1, 3)
    assert len({seed_of(run, purpose) for run in range(9) for purpose in range(3)}) == 27
