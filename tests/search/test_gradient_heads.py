"""The likelihood of heads that draw their own actions: against other libraries, differences, and the return of a bandit."""

from __future__ import annotations

import dataclasses
from itertools import product

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete

from lightning_pz.common.errors import UserError
from lightning_pz.envs.specs import EnvSpec, env_spec
from lightning_pz.envs.tasks import find_task
from lightning_pz.policy import Head, Layout, PolicyNetwork, Prior, acting
from lightning_pz.search.algorithm_settings import GradientSettings
from lightning_pz.search.algorithms import make_search
from lightning_pz.search.gradient import GradientSearch, likelihood_gradient, log_likelihood
from lightning_pz.search.objective import Objective, Problem
from lightning_pz.search.settings import SearchSettings
from lightning_pz.search.spaces import parameter_space

GAIN = {"number": np.array([0.2, 1.0, -0.5]), "pair": np.array([[0.0, 2.0], [1.0, -1.0], [0.5, 0.3]])}


class Bandit(gymnasium.Env):
    """One step; what it pays is a table's entry, or how close the action is to 0.7."""

    observation_space = Box(-1.0, 1.0, (2,))

    def __init__(self, kind: str) -> None:
        self.kind = kind
        spaces = {"number": Discrete(3, start=4), "pair": MultiDiscrete([3, 2]), "real": Box(-1.0, 3.0, (1,))}
        self.action_space = spaces[kind]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.array([0.5, -1.0], dtype=np.float32), {}

    def step(self, action):
        pays = {
            "number": lambda: GAIN["number"][action - 4], "pair": lambda: GAIN["pair"][tuple(action)],
            "real": lambda: -((action[0] - 0.7) ** 2),
        }[self.kind]()  # fmt: skip
        return np.zeros(2, dtype=np.float32), float(pays), True, False, {}


for kind in ("number", "pair", "real"):
    gymnasium.register(f"Bandit-{kind}-v0", entry_point=Bandit, kwargs={"kind": kind}, max_episode_steps=5)


def head_of(spec: EnvSpec) -> Head:
    return Head("categorical", spec.choices, temperature=0.7) if spec.choices else Head("gaussian", initial_std=0.4)


def problem_of(env_id: str, hidden: tuple[int, ...] = (3,)) -> Problem:
    spec = env_spec(env_id)
    layout = Layout(spec.observation_size, hidden, spec.action_size, head=head_of(spec))
    low, high = torch.tensor(spec.action_low), torch.tensor(spec.action_high)
    network = PolicyNetwork(layout, torch.zeros(spec.observation_size), torch.ones(spec.observation_size), low, high)
    return Problem(network, spec, "standard", find_task(spec.id, "standard"))


def search_of(problem: Problem, **settings) -> GradientSearch:
    space = parameter_space(Prior(), problem.network.layout)
    own = GradientSettings(**{"policies": 2, "episodes": 8} | settings)
    return GradientSearch(
        settings=own, latents=space, weights=space, objective=Objective(problem), seed=0, starts=4, start_episodes=1
    )


def sample(problem: Problem, states: int = 30):
    """Return params of two policies, and states, actions, weights and mask of a made-up batch."""
    generator = torch.Generator().manual_seed(0)
    layout = problem.network.layout
    params = torch.randn(2, layout.num_params, generator=generator)
    observations = torch.randn(2, states, layout.observation_size, generator=generator)
    if layout.head.choices:
        parts = [torch.randint(count, (2, states, 1), generator=generator) for count in layout.head.choices]
        actions = torch.cat(parts, -1) + problem.network.action_low
    else:
        actions = torch.randn(2, states, layout.action_size, generator=generator)
    mask = torch.arange(states) < torch.tensor([[states], [states // 2]])
    return params, observations, actions, torch.randn(2, states, generator=generator), mask


@pytest.mark.parametrize("kind", ["number", "pair", "real"])
def test_the_likelihood_is_that_of_torchs_distributions(kind: str) -> None:
    problem = problem_of(f"Bandit-{kind}-v0")
    network, layout = problem.network, problem.network.layout
    params, observations, actions, *_ = sample(problem)
    found = log_likelihood(network, params, observations, actions, 0 * network.action_low)
    for number, policy in enumerate(params):
        modules = [*layout.to_sequential(policy)]
        outputs = torch.nn.Sequential(*modules)(observations[number]).detach()
        if kind == "real":
            half = torch.tensor(2.0)
            mean, std = 1 + half * torch.tanh(outputs[:, :1]), 0.8 * half * torch.sigmoid(outputs[:, 1:])
            # Per half action box, which is a factor of the density.
            expected = torch.distributions.Normal(mean, std).log_prob(actions[number]).sum(-1) + half.log()
        else:
            parts = (outputs / 0.7).split(list(layout.head.choices), dim=-1)
            numbers = (actions[number] - network.action_low).unbind(-1)
            each = [torch.distributions.Categorical(logits=p).log_prob(n) for p, n in zip(parts, numbers, strict=True)]
            expected = torch.stack(each).sum(0)
        assert torch.allclose(found[number], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["number", "pair", "real"])
def test_its_gradient_equals_finite_differences_and_padding_counts_for_nothing(kind: str) -> None:
    problem = problem_of(f"Bandit-{kind}-v0")
    network = problem.network
    params, observations, actions, weights, mask = sample(problem)
    actions[~mask] = 0 if network.layout.head.choices else 1e3
    found = likelihood_gradient(network, params, observations, actions, weights, mask, 0 * network.action_low)
    double = network.double()
    play = torch.where(mask[..., None], actions, network.action_low).double()

    def surrogate(weights_of_policies: torch.Tensor) -> torch.Tensor:
        logs = log_likelihood(double, weights_of_policies, observations.double(), play, 0 * network.action_low)
        return (logs * weights * mask).sum(1) / mask.sum(1)

    for number in range(0, network.layout.num_params, 3):
        step = torch.zeros(network.layout.num_params, dtype=torch.double)
        step[number] = 1e-6
        slope = (surrogate(params.double() + step) - surrogate(params.double() - step)) / 2e-6
        assert torch.allclose(found[:, number].double(), slope, rtol=1e-3, atol=1e-4)
    network.float()


def expected_return(problem: Problem, params: torch.Tensor) -> torch.Tensor:
    """Return each policy's expected return in the bandit, by a sum over choices, or over a fine grid of actions."""
    network, layout = problem.network, problem.network.layout
    observation = torch.tensor([[0.5, -1.0]]).expand(len(params), 1, -1)
    if layout.head.choices:
        table = torch.from_numpy(GAIN["number" if len(layout.head.choices) == 1 else "pair"])
        whole = torch.zeros(len(params), dtype=torch.double)
        for choice in product(*map(range, layout.head.choices)):
            action = (torch.tensor(choice) + network.action_low).expand(len(params), 1, -1)
            whole += (
                log_likelihood(network, params, observation, action, 0 * network.action_low)[:, 0].exp() * table[choice]
            )
        return whole
    grid = torch.linspace(-9, 11, 8001)
    logs = log_likelihood(
        network,
        params,
        observation.expand(-1, len(grid), -1),
        grid[:, None].expand(len(params), -1, 1),
        0 * network.action_low,
    )
    # The density is per half box, of 2; what is played is clipped to the box.
    return (logs.exp() / 2 * -((grid.clamp(-1, 3) - 0.7) ** 2)).double().sum(1) * float(grid[1] - grid[0])


@pytest.mark.parametrize("kind", ["number", "pair", "real"])
def test_the_played_gradient_is_that_of_the_expected_return(kind: str) -> None:
    problem = problem_of(f"Bandit-{kind}-v0", hidden=())
    search = search_of(problem, episodes=4000, discount=1.0)
    params = torch.randn(2, problem.network.layout.num_params, generator=torch.Generator().manual_seed(1)) * 0.7
    played = search._play(params, 3)
    # Advantages are scaled to a mean square of 1: that factor is known.
    rewards = played.rewards.reshape(2, -1)
    others = (rewards.sum(1, keepdims=True) - rewards) / (rewards.shape[1] - 1)
    scale = torch.from_numpy(np.sqrt(np.square(rewards - others).mean(1)))
    found = search._gradient(params, played).double() * scale[:, None]
    assert torch.from_numpy(rewards.mean(1)) == pytest.approx(expected_return(problem, params), abs=0.06)
    size = problem.network.layout.num_params
    slopes = torch.stack(
        [
            (expected_return(problem, params + h) - expected_return(problem, params - h)) / 0.02
            for h in 0.01 * torch.eye(size)
        ],
        dim=1,
    )
    noise = 4 * found.abs().max() / np.sqrt(4000)
    assert torch.allclose(found, slopes, rtol=0.1, atol=max(0.05, float(noise)))


def test_actions_are_drawn_whatever_the_policies_do_elsewhere() -> None:
    problem = problem_of("Bandit-number-v0")
    search = search_of(problem, episodes=200)
    assert not problem.network.layout.head.sample and acting(problem.network, True).layout.head.sample
    params = torch.zeros(2, problem.network.layout.num_params)
    played = search._play(params, 1).actions.reshape(2, 200)
    assert set(played[0]) == {4.0, 5.0, 6.0}
    assert np.array_equal(played[0], played[1])  # the same noise for policies of one generation
    assert not np.array_equal(played, search._play(params, 2).actions.reshape(2, 200))
    sampled = dataclasses.replace(
        problem, network=acting(problem.network, True)
    )  # `policy.sample` changes the episodes that judge, not these
    assert np.array_equal(search_of(sampled, episodes=200)._play(params, 1).actions.reshape(2, 200), played)


@pytest.mark.parametrize("kind", ["number", "pair", "real"])
def test_it_learns_a_bandit(kind: str) -> None:
    problem = problem_of(f"Bandit-{kind}-v0")
    search = search_of(problem, episodes=16, learning_rate=0.2)
    state, generation = search.step(search.begin())
    before = expected_return(problem, search.latents.decode(state.points))
    for _ in range(60):
        state, generation = search.step(state)
    after = expected_return(problem, search.latents.decode(state.points))
    best = {"number": 1.0, "pair": 2.0, "real": 0.0}[kind]
    assert np.isnan(generation.sigma) and (after > before - 1e-3).all()
    assert (after > best - 0.25).any()


def test_noise_beside_that_of_the_head_is_refused() -> None:
    problem = problem_of("Bandit-real-v0")
    settings = SearchSettings(algorithm="gradient", gradient=GradientSettings(noise=0.1))
    space = parameter_space(Prior(), problem.network.layout)
    with pytest.raises(UserError, match=r"--gradient\.noise is added to the actions of a tanh head"):
        make_search(settings, Objective(problem), space, space)
