"""Rollouts against a plain Gymnasium loop, and what must not change them."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch

from lightning_pz.common.errors import UserError
from lightning_pz.envs.forward import BatchForward
from lightning_pz.envs.rollout import Rollouts, rollout
from lightning_pz.envs.specs import EnvSpec, env_spec
from lightning_pz.envs.tasks import find_tasks
from lightning_pz.policy import Layout, PolicyNetwork, Prior, draw_params

HORIZON = 60


def make_network(spec: EnvSpec, hidden: tuple[int, ...] = (8, 5), activation: str = "tanh") -> PolicyNetwork:
    layout = Layout(spec.observation_size, hidden, spec.action_size, activation)
    generator = torch.Generator().manual_seed(0)
    return PolicyNetwork(
        layout,
        torch.randn(spec.observation_size, generator=generator) * 0.1,
        torch.rand(spec.observation_size, generator=generator) + 0.5,
        torch.tensor(spec.action_low),
        torch.tensor(spec.action_high),
    )


def plain_return(env_id: str, network: PolicyNetwork, params: torch.Tensor, seed: int) -> tuple[float, int]:
    """One episode, one policy, one line after another."""
    env = gymnasium.make(env_id)
    module = network.layout.to_sequential(params)
    observation, _ = env.reset(seed=seed)
    total, steps, terminated = 0.0, 0, False
    while steps < HORIZON and not terminated:
        with torch.no_grad():
            action = network.scale(module(network.standardize(torch.as_tensor(observation).float())))
        observation, reward, terminated, _, _ = env.step(action.numpy())
        total += float(reward)
        steps += 1
    env.close()
    return total, steps


def assert_same(one: Rollouts, other: Rollouts) -> None:
    for name in one.returns:
        np.testing.assert_array_equal(one.returns[name], other.returns[name])
    np.testing.assert_array_equal(one.lengths, other.lengths)
    np.testing.assert_array_equal(one.valid, other.valid)
    if one.observations is not None and other.observations is not None:
        np.testing.assert_array_equal(one.observations, other.observations)


@pytest.mark.parametrize("env_id", ["Hopper-v5", "MountainCarContinuous-v0", "Reacher-v5", "Pusher-v5"])
def test_returns_are_those_of_a_plain_loop(env_id: str) -> None:
    spec = env_spec(env_id)
    network = make_network(spec)
    params = draw_params(Prior(), network.layout, 0, range(4))
    seeds = [3, 11]
    result = rollout(network, params, spec, seeds, find_tasks(env_id), horizon=HORIZON)
    assert result.valid.all()
    assert result.steps == result.lengths.sum()
    for policy in range(4):
        for episode, seed in enumerate(seeds):
            total, length = plain_return(env_id, network, params[policy], seed)
            assert result.lengths[policy, episode] == length
            # Actions agree to float32 rounding, and chaos has had only a few steps to amplify it.
            assert result.returns["standard"][policy, episode] == pytest.approx(total, rel=2e-3, abs=1e-3)


@pytest.mark.parametrize("activation", ["tanh", "relu", "silu", "linear"])
@pytest.mark.parametrize("hidden", [(), (7,), (64, 64)])
@pytest.mark.parametrize("episodes", [1, 3])
def test_forward_agrees_with_the_policy_network(activation: str, hidden: tuple, episodes: int) -> None:
    spec = env_spec("Hopper-v5")
    network = make_network(spec, hidden, activation)
    params = draw_params(Prior(gain=1.5), network.layout, 1, range(10))
    observations = np.random.default_rng(0).normal(size=(10, episodes, spec.observation_size))
    expected = network(params, torch.as_tensor(observations).float()).numpy()
    forward = BatchForward(network, params, episodes)
    slots, seen = np.arange(10 * episodes).reshape(10, episodes), observations.reshape(10 * episodes, -1)
    whole = forward(seen, slots.ravel()).reshape(10, episodes, -1)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(whole, expected, rtol=1e-4, atol=2e-6)
    # Fewer policies, first in place and then moved together: the same actions to the last bit.
    for needed in ([0, 2, 3, 4, 5, 6, 7, 8, 9], [2, 3, 5, 8, 9], [3, 9], [9]):
        some = forward(seen, slots[needed].ravel()).reshape(len(needed), episodes, -1)
        np.testing.assert_array_equal(some, whole[needed])


@pytest.mark.parametrize("env_id", ["Hopper-v5", "MountainCarContinuous-v0", "HalfCheetah-v5"])
def test_neither_chunk_nor_threads_nor_company_change_a_bit(env_id: str) -> None:
    spec = env_spec(env_id)
    network = make_network(spec, (64, 64))
    params = draw_params(Prior(gain=2.0), network.layout, 0, range(7))
    tasks = find_tasks(env_id)
    settings = {"horizon": HORIZON, "keep_observations": True}
    whole = rollout(network, params, spec, [0, 1, 2], tasks, **settings)
    for chunk in (1, 3, 100):
        assert_same(whole, rollout(network, params, spec, [0, 1, 2], tasks, chunk=chunk, **settings))
    assert_same(whole, rollout(network, params, spec, [0, 1, 2], tasks, threads=2, **settings))
    lazily = rollout(
        network,
        lambda numbers: params[list(numbers)],
        spec,
        [0, 1, 2],
        tasks,
        policies=7,
        chunk=2,
        **settings,
    )
    assert_same(whole, lazily)
    last = rollout(network, params[6:], spec, [0, 1, 2], tasks, horizon=HORIZON)
    for name in tasks:
        np.testing.assert_array_equal(last.returns[name][0], whole.returns[name][6])


def test_visited_observations_are_those_of_each_episode() -> None:
    spec = env_spec("Hopper-v5")
    network = make_network(spec)
    params = draw_params(Prior(gain=3.0), network.layout, 0, range(5))
    result = rollout(network, params, spec, [4, 5], find_tasks("Hopper-v5"), chunk=2, keep_observations=True)
    assert result.observations is not None
    assert len(set(result.lengths.ravel().tolist())) > 3, "episodes should end at different times"
    assert result.observations.shape == (result.steps, spec.observation_size)
    env = gymnasium.make("Hopper-v5")
    for policy in range(5):
        visited = result.visited(policy, 1)
        observation, _ = env.reset(seed=5)
        assert len(visited) == result.lengths[policy, 1]
        for recorded in visited:
            np.testing.assert_allclose(recorded, observation, rtol=1e-4, atol=1e-4)
            action = network(params[policy : policy + 1], torch.as_tensor(recorded)[None, None])[0, 0].numpy()
            observation, *_ = env.step(action)
    env.close()
    with pytest.raises(ValueError, match="keep_observations=True"):
        rollout(network, params, spec, [4], find_tasks("Hopper-v5"), horizon=2).visited(0, 0)


def test_a_policy_that_breaks_is_marked_and_the_rest_go_on() -> None:
    spec = env_spec("HalfCheetah-v5")
    network = make_network(spec)
    params = draw_params(Prior(), network.layout, 0, range(5))
    tasks = find_tasks("HalfCheetah-v5")
    good = rollout(network, params, spec, [0, 1], tasks, horizon=30)
    broken = params.clone()
    broken[1] = float("nan")
    broken[3, 0], broken[3, 1] = float("inf"), float("-inf")
    result = rollout(network, broken, spec, [0, 1], tasks, horizon=30, keep_observations=True)
    assert result.valid.tolist() == [[True] * 2, [False] * 2, [True] * 2, [False] * 2, [True] * 2]
    assert (result.lengths[[1, 3]] == 0).all()
    for name in tasks:
        assert np.isnan(result.returns[name][[1, 3]]).all()
        np.testing.assert_array_equal(result.returns[name][[0, 2, 4]], good.returns[name][[0, 2, 4]])


class _Fragile(gymnasium.Env):
    """Its observation, or its reward, turns non-finite after three steps if the seed says so."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), dtype=np.float64)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), dtype=np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.kind, self.steps = seed, 0
        return np.full(1, np.nan if seed == 3 else 0.0), {}

    def step(self, action):
        self.steps += 1
        late = self.steps == 3
        observation = np.full(1, np.inf if late and self.kind == 1 else 0.1)
        return observation, np.nan if late and self.kind == 2 else 1.0, self.steps == 5, False, {}


def test_an_episode_whose_observation_or_reward_breaks_is_marked() -> None:
    gymnasium.register("FragileForTests-v0", entry_point=_Fragile)
    try:
        spec = env_spec("FragileForTests-v0")
        network = make_network(spec)
        params = draw_params(Prior(), network.layout, 0, range(2))
        result = rollout(network, params, spec, [0, 1, 2, 3], find_tasks(spec.id))
        assert result.valid.tolist() == [[True, False, False, False]] * 2
        assert result.lengths.tolist() == [[5, 3, 3, 0]] * 2
        np.testing.assert_array_equal(result.returns["standard"], [[5.0, np.nan, np.nan, np.nan]] * 2)
        poison = {"standard": lambda t: t.rewards, "log": lambda t: np.full(len(t.rewards), -np.inf)}
        assert not rollout(network, params, spec, [0], poison).valid.any()
    finally:
        del gymnasium.registry["FragileForTests-v0"]


def test_nothing_to_do_is_explained() -> None:
    spec = env_spec("Pendulum-v1")
    network = make_network(spec)
    params = draw_params(Prior(), network.layout, 0, range(2))
    tasks = find_tasks("Pendulum-v1")
    with pytest.raises(UserError, match="at least 1 of policies, but got 0"):
        rollout(network, params[:0], spec, [0], tasks)
    with pytest.raises(UserError, match="at least 1 of episode seeds, but got 0"):
        rollout(network, params, spec, [], tasks)
    with pytest.raises(UserError, match="at least 1 of tasks, but got 0"):
        rollout(network, params, spec, [0], {})
    with pytest.raises(UserError, match="horizon"):
        rollout(network, params, spec, [0], tasks, horizon=0)
    with pytest.raises(UserError, match="chunk"):
        rollout(network, params, spec, [0], tasks, chunk=0)
    with pytest.raises(UserError, match="made for another environment"):
        rollout(network, params, env_spec("Hopper-v5"), [0], tasks)
    with pytest.raises(ValueError, match="number of policies"):
        rollout(network, lambda numbers: params, spec, [0], tasks)
    with pytest.raises(ValueError, match="expected params of shape"):
        rollout(network, params[:, :-1], spec, [0], tasks)


def test_progress_counts_every_episode(capsys: pytest.CaptureFixture) -> None:
    spec = env_spec("Hopper-v5")
    network = make_network(spec)
    params = draw_params(Prior(), network.layout, 0, range(3))
    rollout(network, params, spec, [0, 1], find_tasks("Hopper-v5"), horizon=20, chunk=2, progress=True)
    assert "/6 [" in capsys.readouterr().err
