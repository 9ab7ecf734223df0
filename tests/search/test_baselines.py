"""Stable-Baselines3's policies leave as files that act as the library itself does; runs repeat themselves."""

import dataclasses

import gymnasium
import numpy as np
import pytest
import torch

from lightning_pz.common.errors import UserError
from lightning_pz.search import baselines
from lightning_pz.search.baselines import BaselineSearch
from lightning_pz.search.objective import EVALUATION_SEEDS, TEST_SEEDS, Objective
from lightning_pz.search.settings import BASELINES, BaselineSettings, check_algorithm_package


def make(algorithm, problem, seed=0):
    return BaselineSearch(algorithm, BaselineSettings(chunk=120), problem, seed=seed, budget=5000)


@pytest.mark.parametrize("algorithm", BASELINES)
def test_policy_equals_the_librarys_and_runs_repeat(algorithm, problem, monkeypatch):
    monkeypatch.setattr(baselines, "_PPO_ROLLOUT", 128)
    search = make(algorithm, problem)
    state = search.begin()
    state, generation = search.step(state)
    assert generation.steps == search.cost(state) == state.model.num_timesteps
    policy = search.incumbent(state)
    assert policy.layout.hidden == problem.network.layout.hidden
    observations = np.random.default_rng(0).uniform([-1.2, -0.07], [0.6, 0.07], (40, 2)).astype(np.float32)
    expected, _ = state.model.predict(observations, deterministic=True)
    assert policy.act(torch.from_numpy(observations)).numpy() == pytest.approx(expected, abs=1e-5)

    again, _ = search.step(make(algorithm, problem).begin())
    assert torch.equal(search.incumbent(again).params, policy.params)
    other, _ = search.step(make(algorithm, problem, seed=1).begin())
    assert not torch.equal(search.incumbent(other).params, policy.params)


def test_seeds_of_evaluation_and_test_episodes_are_refused(problem):
    make("sac", problem, seed=EVALUATION_SEEDS - 1)
    for seed in (EVALUATION_SEEDS, TEST_SEEDS + 5):
        with pytest.raises(UserError, match=rf"--seed expects at most 9999999 .*but got {seed}"):
            make("sac", problem, seed=seed)


def test_ppo_is_measured_as_gymnasium_would(problem):
    search = make("ppo", problem)
    policy = search.incumbent(search.begin())
    found = Objective(problem).measure(policy, [1, 2])
    env = gymnasium.make("MountainCarContinuous-v0")
    for seed, value in zip([1, 2], found.each[0], strict=True):
        observation, _ = env.reset(seed=seed)
        total, ended = 0.0, False
        while not ended:
            action = policy.act(torch.from_numpy(observation)[None])[0].numpy()
            observation, reward, terminated, truncated, _ = env.step(action)
            total, ended = total + reward, terminated or truncated
        assert value == pytest.approx(total, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("algorithm", ["ppo", "sac"])
def test_a_reward_that_is_not_finite_is_refused_and_not_learned_from(algorithm, problem):
    steps = []

    def reward(transition):
        steps.append(1)
        return np.full(1, np.nan if len(steps) == 5 else 0.0)

    search = make(algorithm, dataclasses.replace(problem, reward=reward))
    with pytest.raises(
        UserError,
        match=rf"--algorithm {algorithm} .*MountainCar.*task 'standard', gave a reward that is not finite, in step 5 ",
    ):
        search.step(search.begin())


@pytest.mark.parametrize("algorithm, line", [("sac", "[baselines]"), ("cmaes", "[cmaes]")])
def test_a_missing_extra_is_refused_with_the_line_that_installs_it(algorithm, line, monkeypatch):
    monkeypatch.setattr("lightning_pz.common.checks.is_installed", lambda module: False)
    with pytest.raises(UserError) as error:
        check_algorithm_package(algorithm)
    assert str(error.value).endswith(f"pip install 'lightning_pz{line}'")
    check_algorithm_package("pgpe")
