"""The chain rule through the decoder against finite differences and explicit Jacobians; it improves a policy."""

import numpy as np
import pytest
import torch

from lightning_pz.envs.episode_seeds import episode_seeds
from lightning_pz.envs.forward import BatchForward, noisy
from lightning_pz.search.algorithm_settings import GradientSettings
from lightning_pz.search.gradient import GradientSearch, advantages, chain, likelihood_gradient, rewards_to_go
from lightning_pz.search.optimizers.clipup_adam import adam_step
from lightning_pz.search.spaces import SearchSpace


def smooth(params):
    return (params.square() * torch.linspace(0.5, 2, params.shape[1])).sum(1) + torch.sin(params).prod(1)


def smooth_gradient(params):
    leaf = params.clone().requires_grad_()
    smooth(leaf).sum().backward()
    return leaf.grad


def double_decoder():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 10), torch.nn.SiLU(), torch.nn.Linear(10, 7)).double()
    return network.requires_grad_(False)


def test_latent_gradient_equals_finite_differences():
    decode, points, h = double_decoder(), torch.randn(4, 3, dtype=torch.double), 1e-6
    found = chain(decode, points, smooth_gradient)
    for axis in range(3):
        step = torch.zeros(3, dtype=torch.double)
        step[axis] = h
        slope = (smooth(decode(points + step)) - smooth(decode(points - step))) / (2 * h)
        assert torch.allclose(found[:, axis], slope, rtol=1e-6, atol=1e-8)


def test_latent_gradient_equals_the_transposed_jacobian_times_the_parameter_gradient(latents: SearchSpace):
    points = torch.randn(5, latents.size, dtype=torch.double)
    found = chain(latents.decode, points, smooth_gradient)
    for point, gradient in zip(points, found, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda w: latents.decode(w[None])[0], point)
        by_params = smooth_gradient(latents.decode(point[None]))[0]
        assert torch.allclose(jacobian.T.float() @ by_params, gradient.float(), rtol=1e-4, atol=1e-5)


def test_likelihood_gradient_equals_that_of_the_normal_density(network):
    generator = torch.Generator().manual_seed(0)
    params = torch.randn(2, network.layout.num_params, generator=generator)
    observations = torch.randn(2, 30, 2, generator=generator) * 0.1
    actions, weights = torch.randn(2, 30, 1, generator=generator), torch.randn(2, 30, generator=generator)
    mask = torch.ones(2, 30, dtype=torch.bool)
    mask[1, 20:] = False
    noise = torch.tensor([0.3])
    found = likelihood_gradient(network, params, observations, actions, weights, mask, noise)
    for policy, count in ((0, 30), (1, 20)):
        leaf = params[policy : policy + 1].clone().requires_grad_()
        density = torch.distributions.Normal(network(leaf, observations[policy : policy + 1, :count]), noise)
        log_density = density.log_prob(actions[policy : policy + 1, :count]).sum(-1)
        (log_density * weights[policy, :count]).sum().div(count).backward()
        assert torch.allclose(found[policy], leaf.grad[0], rtol=1e-4, atol=1e-6)


def test_rewards_to_go_and_advantages():
    rewards = np.array([[1.0, 2.0, 3.0], [4.0, 0.0, 0.0]])
    assert rewards_to_go(rewards, 1.0).tolist() == [[6, 5, 3], [4, 0, 0]]
    assert rewards_to_go(rewards, 0.5)[0].tolist() == [1 + 0.5 * 3.5, 3.5, 3]
    mask = np.array([[[True, True, True], [True, False, False]]])
    found = advantages(rewards_to_go(rewards, 1.0)[None], mask)[0]
    # Baselines: the other episode where it still ran, else 0.
    expected = np.array([[2.0, 5.0, 3.0], [-2.0, 0.0, 0.0]])
    assert found == pytest.approx(expected / np.sqrt(np.square(expected).sum() / 4))


def test_exploration_noise_has_the_asked_spread_and_does_not_shift(network):
    params = torch.randn(3, network.layout.num_params, generator=torch.Generator().manual_seed(0))
    observations = np.random.default_rng(0).normal(size=(6, 2)) * 0.1

    def wanted(active):
        act = noisy(BatchForward(network, params, 2), np.array([0.3]), np.random.default_rng(1))
        return act(observations, np.array(active))

    everyone, some = wanted(range(6)), wanted([1, 4])
    assert some == pytest.approx(everyone[[1, 4]], abs=1e-6)
    means = network(params, torch.from_numpy(observations).float().reshape(3, 2, 2)).reshape(6, 1).numpy()
    draws = np.concatenate(
        [
            noisy(BatchForward(network, params, 2), np.array([0.3]), np.random.default_rng(seed))(
                observations, np.arange(6)
            )
            - means
            for seed in range(500)
        ]
    )
    assert abs(draws.mean()) < 0.02 and draws.std() == pytest.approx(0.3, rel=0.05)


def gradient_search(settings, latents, weights, objective, **more):
    given = {"settings": settings, "latents": latents, "weights": weights, "objective": objective}
    return GradientSearch(**given, seed=0, start_episodes=1, **more)


@pytest.mark.slow
def test_it_improves_the_return_on_mountain_car(latents, weights, objective):
    settings = GradientSettings(policies=2, episodes=4, learning_rate=0.2)
    search = gradient_search(settings, latents, weights, objective, starts=2)
    state, _ = search.step(search.begin())

    def returns(points):
        return objective(latents.decode(points), list(range(10))).mean

    before = returns(state.points)
    for _ in range(12):
        state, _ = search.step(state)
    # Neither start reaches the goal. One learns to (90 and more), the other to push less in vain.
    after = returns(state.points)
    assert (after > before + 15).all() and after.max() > 90 > 0 > before.max()
    assert objective.measure(search.incumbent(state), list(range(10))).mean[0] == pytest.approx(after.max())


def test_releasing_the_decoder_goes_on_from_the_decoded_policy(latents, weights, objective):
    settings = GradientSettings(policies=2, episodes=2, parameter_learning_rate=1e-9)
    search = gradient_search(settings, latents, weights, objective, starts=3, release_at=3500)
    state, _ = search.step(search.begin())
    assert not state.released and state.steps < 3500
    state, _ = search.step(state)
    assert state.steps >= 3500
    decoded = latents.decode(state.points)
    released, _ = search.step(state)
    assert released.released and released.points.shape == (2, weights.size)
    assert torch.allclose(weights.decode(released.points), decoded, atol=1e-5)


def test_policies_of_a_tanh_head_move_as_before_heads_to_the_last_bit(latents, weights, objective):
    settings = GradientSettings(policies=2, episodes=3)
    search = gradient_search(settings, latents, weights, objective, starts=3)
    state, _ = search.step(search.begin())
    following, generation = search.step(state)
    assert generation.sigma == 0.3
    network, params = objective.problem.network, latents.decode(state.points).detach()
    generator = np.random.default_rng(np.random.SeedSequence([0, 1], spawn_key=(2,)))
    noise = 0.3 * (network.action_high - network.action_low) / 2
    act = noisy(BatchForward(network, params, 3), noise.numpy(), generator)
    played = objective.play(act, episode_seeds(0, 1, 3) * 2)
    mask = played.mask().reshape(2, 3, -1)
    to_go = rewards_to_go(np.where(played.mask(), played.rewards, 0.0), 0.99).reshape(mask.shape)
    judged, played_at = torch.from_numpy(advantages(to_go, mask)).float().flatten(1), torch.from_numpy(mask).flatten(1)
    share = judged * played_at / played_at.sum(dim=1, keepdim=True)
    observations, actions = (
        torch.from_numpy(part).unflatten(0, (2, 3)).flatten(1, 2) for part in (played.observations, played.actions)
    )
    leaf = params.requires_grad_()
    error = (actions - network(leaf, observations)) / noise
    (-0.5 * error.square().sum(-1) * share).sum().backward()
    by_point = chain(latents.decode, state.points, lambda decoded: leaf.grad)
    assert torch.equal(following.points, state.points + adam_step(state.mover, by_point)[1])
