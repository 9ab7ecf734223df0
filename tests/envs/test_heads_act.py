"""Policies that choose or draw their actions, in rollouts, against Gymnasium and against the features that they are compared by."""

from __future__ import annotations

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete

from lightning_pz.common.errors import UserError
from lightning_pz.envs.forward import BatchForward, saved_act
from lightning_pz.envs.policy_layout import policy_layout
from lightning_pz.envs.presets import PolicyConfig
from lightning_pz.envs.rollout import rollout
from lightning_pz.envs.simulators.gymnasium_loop import GymnasiumSimulator
from lightning_pz.envs.specs import env_spec
from lightning_pz.envs.tasks import find_tasks
from lightning_pz.policy import Head, Layout, PolicyNetwork, Prior, act_each, draw_params
from lightning_pz.policy.saved import SavedPolicy

SPACES = {"three": Discrete(3, start=2), "factors": MultiDiscrete([3, 2], start=[0, 5]), "bits": MultiBinary(3)}


class Echo(gymnasium.Env):
    """Observes a seeded random walk; the reward is the last number of the action, which must be in the space."""

    observation_space = Box(-np.inf, np.inf, (4,))

    def __init__(self, space: str = "three") -> None:
        self.action_space = SPACES[space]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.np_random.normal(size=4).astype(np.float32), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        number = action if np.isscalar(action) else action[-1]
        return self.np_random.normal(size=4).astype(np.float32), float(number), False, False, {}


for name in SPACES:
    gymnasium.register(f"Echo-{name}-v0", entry_point=Echo, kwargs={"space": name}, max_episode_steps=50)


def network_of(env_id: str, **policy: object) -> tuple[PolicyNetwork, torch.Tensor]:
    spec = env_spec(env_id)
    layout = policy_layout(spec, PolicyConfig(hidden=[8], **policy))
    box = torch.tensor(spec.action_low), torch.tensor(spec.action_high)
    size = spec.observation_size
    network = PolicyNetwork(layout, torch.zeros(size), torch.ones(size), *box)
    return network, draw_params(Prior(gain=2.0), layout, 0, range(7))


@pytest.mark.parametrize("name", SPACES)
def test_choices_reach_the_environment_as_its_space_has_them(name: str) -> None:
    spec = env_spec(f"Echo-{name}-v0")
    network, params = network_of(spec.id)
    found = rollout(network, params, spec, [3, 4], find_tasks(spec.id), horizon=20)
    for row, policy in enumerate(params):
        env = gymnasium.make(spec.id)
        for column, seed in enumerate([3, 4]):
            seen, total = env.reset(seed=seed)[0], 0.0
            for _ in range(20):
                action = network(policy[None], torch.from_numpy(seen)[None, None])[0, 0].numpy()
                seen, reward, *_ = env.step(action[0] if name == "three" else action.astype(env.action_space.dtype))
                total += reward
            assert found.returns["standard"][row, column] == total


@pytest.mark.parametrize(
    ("env_id", "policy"),
    [
        ("CartPole-v1", {}),
        ("CartPole-v1", {"sample": True}),
        ("MountainCarContinuous-v0", {"head": "gaussian", "sample": True}),
    ],
)
def test_neither_chunk_nor_company_changes_a_bit_of_an_episode(env_id: str, policy: dict) -> None:
    spec = env_spec(env_id)
    network, params = network_of(env_id, **policy)
    settings = {"horizon": 60, "keep_observations": True}
    whole = rollout(network, params, spec, [0, 1, 2], find_tasks(env_id), **settings)
    for chunk in (1, 3):
        again = rollout(network, params, spec, [0, 1, 2], find_tasks(env_id), chunk=chunk, **settings)
        np.testing.assert_array_equal(again.observations, whole.observations)
    alone = rollout(network, params[4:5], spec, [1, 2], find_tasks(env_id), **settings)
    assert [alone.lengths[0, i] for i in (0, 1)] == [whole.lengths[4, i] for i in (1, 2)]
    np.testing.assert_allclose(alone.visited(0, 0)[:10], whole.visited(4, 1)[:10], atol=1e-5)


def test_two_policies_meet_the_same_luck_and_another_seed_brings_another() -> None:
    network, params = network_of("CartPole-v1", sample=True)
    spec, twins = env_spec("CartPole-v1"), params[:1].repeat(2, 1)
    both = rollout(network, twins, spec, [5, 6], find_tasks(spec.id), keep_observations=True)
    np.testing.assert_array_equal(both.visited(0, 0), both.visited(1, 0))
    forward = BatchForward(network, twins, 2, [5, 6, 5, 6])
    same = np.zeros((4, 4))
    drawn = np.stack([forward(same, np.arange(4))[:, 0] for _ in range(100)])
    np.testing.assert_array_equal(drawn[:, :2], drawn[:, 2:])
    assert (drawn[:, 0] != drawn[:, 1]).any()


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_choices_are_drawn_as_often_as_their_features_say(temperature: float) -> None:
    layout = Layout(4, (8,), 2, head=Head("categorical", (3, 2), temperature=temperature, sample=True))
    network = PolicyNetwork(layout, torch.zeros(4), torch.ones(4), torch.zeros(2), torch.tensor([2.0, 1.0]))
    params, observation = draw_params(Prior(gain=2.0), layout, 1, range(1)), np.random.default_rng(0).normal(size=4)
    episodes = 40_000
    forward = BatchForward(network, params, episodes, list(range(episodes)))
    drawn = forward(np.tile(observation, (episodes, 1)), np.arange(episodes))
    expected = act_each(layout, params, torch.tensor(observation).float()[None, None]).square()[0, 0]
    shares = np.concatenate([np.bincount(drawn[:, i], minlength=n) / episodes for i, n in enumerate((3, 2))])
    np.testing.assert_allclose(shares, expected.numpy(), atol=0.012)


def test_gaussian_actions_have_the_mean_and_deviation_of_their_features() -> None:
    layout = Layout(3, (), 2, head=Head("gaussian", sample=True))
    network = PolicyNetwork(layout, torch.zeros(3), torch.ones(3), torch.tensor([-1.0, 0.0]), torch.tensor([1.0, 4.0]))
    params, observation = draw_params(Prior(), layout, 1, range(1)), np.array([0.3, -1.0, 0.5])
    episodes = 40_000
    drawn = BatchForward(network, params, episodes, list(range(episodes)))(
        np.tile(observation, (episodes, 1)), np.arange(episodes)
    )
    mean, std = act_each(layout, params, torch.tensor(observation).float()[None, None])[0, 0].chunk(2)
    np.testing.assert_allclose(drawn.mean(0), network.scale(mean).numpy(), atol=0.02)
    np.testing.assert_allclose(drawn.std(0), std.numpy() * [1, 2], rtol=0.02)


def test_a_policy_whose_logits_overflow_plays_invalid_episodes() -> None:
    network, params = network_of("CartPole-v1")
    params[1] = torch.inf
    found = rollout(network, params, env_spec("CartPole-v1"), [0], find_tasks("CartPole-v1"))
    assert found.valid[:, 0].tolist() == [True, False, *[True] * 5]
    assert np.isnan(found.returns["standard"][1, 0])


def test_drawing_needs_the_seeds_of_the_episodes() -> None:
    network, params = network_of("CartPole-v1", sample=True)
    with pytest.raises(ValueError, match="need the seed of each slot's episode"):
        BatchForward(network, params)


@pytest.mark.parametrize(
    ("env_id", "policy", "words"),
    [
        ("CartPole-v1", {"head": "tanh"}, "--policy.head tanh does not fit CartPole-v1, which has actions of"),
        ("CartPole-v1", {"head": "gaussian"}, "--policy.head gaussian does not fit CartPole-v1"),
        (
            "Hopper-v5",
            {"head": "categorical"},
            "--policy.head categorical does not fit Hopper-v5, which has actions in a box",
        ),
        ("Hopper-v5", {"temperature": 2.0}, "--policy.temperature goes with --policy.head categorical"),
        ("CartPole-v1", {"initial_std": 2.0}, "--policy.initial_std goes with --policy.head gaussian"),
        ("Hopper-v5", {"sample": True}, "a tanh head gives one action"),
    ],
)
def test_a_head_that_does_not_fit_is_refused_in_a_sentence(env_id: str, policy: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        policy_layout(env_spec(env_id), PolicyConfig(**policy))


def test_a_network_of_other_choices_is_refused() -> None:
    network, params = network_of("CartPole-v1")
    spec = replace(env_spec("CartPole-v1"), choices=(3,))
    with pytest.raises(UserError, match="actions of 3 choices, but the policy network gives actions of 2 choices"):
        rollout(network, params, spec, [0], find_tasks(spec.id), simulator=GymnasiumSimulator(spec, 7))


class Odd(gymnasium.Env):
    observation_space = Box(-1, 1, (2,))

    def __init__(self, space: gymnasium.Space) -> None:
        self.action_space = space


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (Discrete(1, start=4), "factor 0 is always 4"),
        (MultiDiscrete([3, 1]), "factor 1 is always 0"),
        (MultiDiscrete([[3, 2]]), r"has MultiDiscrete \(shape \(1, 2\)\) actions"),
        (MultiBinary([2, 2]), r"has MultiBinary \(shape \(2, 2\)\) actions"),
        (gymnasium.spaces.Dict({"a": Discrete(2)}), "has Dict actions"),
        (gymnasium.spaces.Tuple([Discrete(2)]), "has Tuple actions"),
        (Box(-1, 1, (2, 2)), r"has Box \(shape \(2, 2\)\) actions"),
    ],
)
def test_actions_that_no_head_fits_are_refused_in_a_sentence(space: gymnasium.Space, words: str) -> None:
    gymnasium.register("Odd-v0", entry_point=lambda: Odd(space))
    try:
        with pytest.raises(UserError, match=words):
            env_spec("Odd-v0")
    finally:
        del gymnasium.registry["Odd-v0"]


def test_a_saved_policy_draws_as_it_did_among_others() -> None:
    network, params = network_of("CartPole-v1", sample=True)
    seeds, seen = [5, 6, 7], np.zeros((3, 4))
    alone, among = saved_act(SavedPolicy.of(network, params[2]), seeds), BatchForward(network, params[2:3], 3, seeds)
    for _ in range(40):
        np.testing.assert_array_equal(alone(seen, np.arange(3)), among(seen, np.arange(3)))
