"""Learners that choose: PPO and DQN learn as the library's own, resume to the last bit, and leave as policies that act alike."""

from __future__ import annotations

import dataclasses

import gymnasium
import numpy as np
import onnxruntime
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

from lightning_pz.common.errors import UserError
from lightning_pz.envs.specs import env_spec, make_env
from lightning_pz.envs.tasks import TaskWrapper, find_task
from lightning_pz.policy import Head, Layout, PolicyNetwork, Prior
from lightning_pz.policy.policy_onnx import write_policy_onnx
from lightning_pz.policy.saved import load_policy
from lightning_pz.search.action_checks import check_actions
from lightning_pz.search.algorithms import make_search
from lightning_pz.search.objective import Objective, Problem
from lightning_pz.search.rivals.hyperparameters import (
    Hyperparameters,
    default_hyperparameters,
    zoo_hyperparameters,
)
from lightning_pz.search.rivals.numbered_choices import NumberedChoices
from lightning_pz.search.rivals.search import BaselineSearch
from lightning_pz.search.rivals.zoo import zoo_entry
from lightning_pz.search.settings import SearchSettings
from lightning_pz.search.spaces import parameter_space
from tests.search.rivals.straight import run_to_the_end, same, straight_and_resumed

BUDGET = 320
SPACES = {"number": Discrete(3, start=4), "pair": MultiDiscrete([3, 2], start=[0, 5]), "bits": MultiBinary(3)}


class Walk(gymnasium.Env):
    """Sees a seeded random walk, which actions push; pays for the sum of an action's numbers where the walk is positive."""

    observation_space = Box(-np.inf, np.inf, (3,))

    def __init__(self, kind: str) -> None:
        self.action_space = SPACES[kind]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.np_random.normal(size=3)
        return self.place.astype(np.float32), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        pushed = float(np.sum(action))
        reward = pushed * float(np.sign(self.place[0]))
        self.place = 0.8 * self.place + 0.1 * pushed + 0.3 * self.np_random.normal(size=3)
        return self.place.astype(np.float32), reward, bool(self.np_random.random() < 0.03), False, {}


for kind in SPACES:
    gymnasium.register(f"Walk-{kind}-v0", entry_point=Walk, kwargs={"kind": kind}, max_episode_steps=25)


def problem_of(env_id: str, horizon: int = 25) -> Problem:
    spec = dataclasses.replace(env_spec(env_id), horizon=horizon)
    size, box = spec.observation_size, (torch.tensor(spec.action_low), torch.tensor(spec.action_high))
    layout = Layout(size, (8,), spec.action_size, head=Head("categorical", spec.choices, temperature=2.0, sample=True))
    network = PolicyNetwork(layout, torch.zeros(size), torch.ones(size), *box)
    return Problem(network, spec, "standard", find_task(spec.id, "standard"))


def hyperparameters(algorithm: str, env_id: str, zoo: bool) -> Hyperparameters:
    """Return those of RL Zoo, or the defaults, but of a size with which a few hundred steps are a training."""
    if zoo:
        given = zoo_hyperparameters(algorithm, zoo_entry(algorithm, env_id), BUDGET)
    else:
        given = default_hyperparameters(algorithm, (8,), BUDGET)
    small = {
        "learning_starts": 20,
        "batch_size": 16,
        "train_freq": 4,
        "gradient_steps": 2,
        "target_update_interval": 30,
    }
    small |= {"exploration_fraction": 0.9}
    rollout = {"n_steps": 64 // given.envs, "batch_size": 8, "n_epochs": 2}
    return dataclasses.replace(given, arguments=given.arguments | (rollout if algorithm == "ppo" else small))


def make(algorithm: str, problem: Problem, zoo: bool = False, seed: int = 0) -> BaselineSearch:
    given = hyperparameters(algorithm, problem.spec.id, zoo)
    return BaselineSearch(algorithm, given, problem, seed=seed, budget=BUDGET, chunk=1)


CASES = [
    ("ppo", "CartPole-v1", True),
    ("ppo", "Acrobot-v1", True),  # sixteen environments, whose observations are normalized
    ("dqn", "CartPole-v1", False),
    ("dqn", "CartPole-v1", True),
    ("dqn", "Walk-number-v0", False),
    ("ppo", "Walk-number-v0", False),
    ("ppo", "Walk-pair-v0", False),
    ("ppo", "Walk-bits-v0", False),
]


@pytest.mark.parametrize(("algorithm", "env_id", "zoo"), CASES)
def test_resumed_equals_straight_to_the_last_bit(algorithm: str, env_id: str, zoo: bool) -> None:
    problem = problem_of(env_id, horizon=8 if env_id == "Acrobot-v1" else 25)
    end, again = straight_and_resumed(lambda: make(algorithm, problem, zoo=zoo))
    if algorithm == "dqn":
        ours, others = again.learner.model, end.learner.model
        assert ours._n_calls == others._n_calls == BUDGET
        assert ours.exploration_rate == others.exploration_rate == (0.04 if zoo else 0.05)
        for a, b in zip(ours.q_net_target.parameters(), others.q_net_target.parameters(), strict=True):
            assert torch.equal(a, b)
    other = make(algorithm, problem, zoo, seed=1)
    assert not same(other.incumbent(run_to_the_end(other, other.begin())), other.incumbent(end))


@pytest.mark.parametrize(
    ("algorithm", "env_id"), [("dqn", "CartPole-v1"), ("ppo", "CartPole-v1"), ("ppo", "Walk-pair-v0")]
)
def test_it_learns_what_the_librarys_own_loop_learns(algorithm: str, env_id: str) -> None:
    search = make(algorithm, problem_of(env_id))
    ours = run_to_the_end(search, search.begin())
    library = search.begin().learner
    with library.generators.in_use():
        library.model.learn(BUDGET, log_interval=None)
    assert same(library.policy(), ours.learner.policy())


@pytest.mark.parametrize(("algorithm", "env_id", "zoo"), CASES)
def test_the_policy_acts_as_the_learner_on_raw_observations(algorithm, env_id, zoo, tmp_path) -> None:
    problem = problem_of(env_id)
    search = make(algorithm, problem, zoo)
    state = run_to_the_end(search, search.begin())
    learner, policy = state.learner, search.incumbent(state)
    assert policy.layout.head == Head("categorical", problem.spec.choices)
    assert policy.is_plain == (learner.normal is None)
    observations = np.random.default_rng(0).normal(size=(200, problem.spec.observation_size)).astype(np.float32)
    given = observations if learner.normal is None else learner.normal.normalize_obs(observations)
    expected = learner.model.predict(given, deterministic=True)[0].reshape(200, -1)
    policy.save(tmp_path / "policy.npz")
    found = load_policy(tmp_path / "policy.npz").act(torch.from_numpy(observations)).numpy()
    assert found.dtype == np.int64
    # Where two choices are alike to the last digit either is right.
    assert (found == expected + np.array(problem.spec.action_low)).mean() > 0.99
    assert len({tuple(row) for row in found.tolist()}) > 1
    write_policy_onnx(policy, tmp_path / "policy.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "policy.onnx")
    assert (session.run(["action"], {"observation": observations})[0] == found).mean() > 0.99


@pytest.mark.parametrize("algorithm", ["ppo", "dqn"])
def test_probabilities_are_ppos_and_values_stand_for_logits_of_dqn(algorithm: str) -> None:
    problem = problem_of("Walk-number-v0")
    search = make(algorithm, problem)
    state = run_to_the_end(search, search.begin())
    observations = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    policy, library = search.incumbent(state), state.learner.model.policy
    logits = policy.layout.to_sequential(policy.params)(observations)
    with torch.no_grad():
        if algorithm == "dqn":
            assert torch.allclose(logits, library.q_net(observations), atol=1e-5)
        else:
            expected = library.get_distribution(observations).distribution.probs
            features = policy.layout.head.features(logits)
            assert torch.allclose(features.square(), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("algorithm", "env_id", "zoo"),
    [("dqn", "CartPole-v1", False), ("ppo", "Acrobot-v1", True), ("ppo", "Walk-bits-v0", False)],
)
def test_returns_are_those_of_the_librarys_evaluation(algorithm: str, env_id: str, zoo: bool) -> None:
    problem = problem_of(env_id, horizon=60)
    search = make(algorithm, problem, zoo)
    state = run_to_the_end(search, search.begin())
    learner, seeds = state.learner, [11, 12, 13]

    class Seeded(gymnasium.Wrapper):
        number = -1

        def reset(self, **_):
            self.number += 1
            return self.env.reset(seed=seeds[self.number % 3])

    class Normalized:
        def predict(self, observation, **more):
            normal = learner.normal
            seen = observation if normal is None else normal.normalize_obs(observation)
            return learner.model.predict(seen, **more)

    env = Monitor(Seeded(NumberedChoices(make_env(env_id, max_episode_steps=60), problem.spec)))
    expected, _ = evaluate_policy(Normalized(), env, n_eval_episodes=3, return_episode_rewards=True)
    found = Objective(problem).measure(search.incumbent(state), seeds).each[0]
    # The library's monitor rounds to six digits.
    assert found == pytest.approx(expected, abs=1e-6)


def test_a_library_learner_on_the_bare_environment_is_the_same_one() -> None:
    for kind, algorithm in ((PPO, "ppo"), (DQN, "dqn")):
        learner = make(algorithm, problem_of("CartPole-v1")).begin().learner
        assert type(learner.model) is kind
        assert learner.model.action_space == gymnasium.make("CartPole-v1").action_space


@pytest.mark.parametrize("kind", SPACES)
def test_tasks_see_the_numbers_of_a_rollout(kind: str) -> None:
    seen = []
    spec = env_spec(f"Walk-{kind}-v0")

    def task(transition):
        seen.append(transition.actions)
        return transition.actions.sum(1) - 1.0

    env = NumberedChoices(TaskWrapper(make_env(spec.id), task), spec)
    env.reset(seed=0)
    action = env.action_space.sample()
    reward = env.step(action)[1]
    (numbers,) = seen
    assert numbers.shape == (1, spec.action_size) and numbers.dtype == np.int64
    assert (numbers[0] == np.atleast_1d(action) + np.array(spec.action_low)).all() and reward == numbers.sum() - 1.0


@pytest.mark.parametrize(
    ("algorithm", "choices", "words"),
    [
        (
            "sac",
            (2,),
            "--algorithm sac acts in a box of real numbers, but X has actions of 2 choices: give --algorithm ppo or dqn",
        ),
        ("crossq", (3, 2), "actions of 3 x 2 choices: give --algorithm ppo, or"),
        ("dqn", (), "--algorithm dqn chooses one of some actions, but X has a box of them: give --algorithm ppo"),
        ("dqn", (3, 2), "but X has actions of 3 x 2 choices: give --algorithm ppo"),
    ],
)
def test_a_learner_of_other_actions_is_refused(algorithm: str, choices: tuple[int, ...], words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_actions(algorithm, "X", choices)
    for fine in (("ppo", choices), ("ppo", ()), ("pgpe", choices), ("dqn", (2,)), ("td3", ())):
        check_actions(fine[0], "X", fine[1])


def test_searches_refuse_it_too_and_decoded_actors_have_a_tanh_head() -> None:
    problem = problem_of("CartPole-v1")
    space = parameter_space(Prior(), problem.network.layout)
    with pytest.raises(UserError, match="--algorithm td3 acts in a box"):
        make_search(SearchSettings(algorithm="td3"), Objective(problem), space, space)
    for name in ("latent", "widened", "weights"):
        settings = SearchSettings(algorithm="td3", space=name, replay=0.0)
        with pytest.raises(UserError, match=rf"--space {name} learns policies .*have a categorical head"):
            make_search(settings, Objective(problem), space, space)
