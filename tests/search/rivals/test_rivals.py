"""Learners learn as the library's own loop does, resume to the last bit, and leave as files that act as they do."""

import dataclasses
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
import torch
import yaml

from lightning_pz.common.errors import UserError
from lightning_pz.envs.episode_seeds import TRAINING_SEEDS
from lightning_pz.envs.specs import env_spec
from lightning_pz.envs.tasks import find_task
from lightning_pz.policy import Layout, PolicyNetwork
from lightning_pz.policy.saved import load_policy
from lightning_pz.search.objective import Objective, Problem
from lightning_pz.search.rivals.export import to_policy
from lightning_pz.search.rivals.hyperparameters import default_hyperparameters, zoo_hyperparameters
from lightning_pz.search.rivals.learner import Learner
from lightning_pz.search.rivals.search import BaselineSearch
from lightning_pz.search.rivals.zoo import zoo_entry
from lightning_pz.search.settings import BASELINES, check_algorithm_package
from tests.search.rivals.same_starts import ID
from tests.search.rivals.straight import run_to_the_end, same, straight_and_resumed

BOXES = [name for name in BASELINES if name != "dqn"]
BUDGET = 160
SMALL = {"learning_starts": 20, "batch_size": 16}


@pytest.fixture(scope="module")
def pendulum():
    """Episodes of 25 steps; PPO of RL Zoo has four of these environments side by side."""
    spec = dataclasses.replace(env_spec("Pendulum-v1"), horizon=25)
    network = PolicyNetwork(Layout(3, (8,), 1), torch.zeros(3), torch.ones(3), -2 * torch.ones(1), 2 * torch.ones(1))
    return Problem(network, spec, "standard", find_task(spec.id, "standard"))


def smaller(given, algorithm):
    """Return hyperparameters with which a hundred steps are a training."""
    arguments = given.arguments | ({"n_steps": 16, "batch_size": 8, "n_epochs": 1} if algorithm == "ppo" else SMALL)
    if algorithm == "crossq":
        arguments["policy_kwargs"] = {**arguments.get("policy_kwargs", {}), "net_arch": {"pi": [8], "qf": [16]}}
    return dataclasses.replace(given, arguments=arguments)


def make(algorithm, problem, seed=0, zoo=False, chunk=1, budget=BUDGET):
    hidden = problem.network.layout.hidden
    given = (
        zoo_hyperparameters(algorithm, zoo_entry(algorithm, problem.spec.id), budget)
        if zoo
        else default_hyperparameters(algorithm, hidden, budget)
    )
    return BaselineSearch(algorithm, smaller(given, algorithm), problem, seed=seed, budget=budget, chunk=chunk)


def of_mountain_car(short_problem):
    return dataclasses.replace(short_problem, spec=dataclasses.replace(short_problem.spec, horizon=25))


CASES = [(algorithm, zoo, name) for algorithm in BOXES for zoo, name in ((False, "car"), (True, "car"))]
CASES += [("ppo", True, "pendulum"), ("td3", True, "pendulum")]  # four environments; action noise without memory
QUICK = [("ppo", True, "pendulum"), ("sac", True, "car"), ("crossq", True, "car")]
CASES = [pytest.param(*case, marks=[] if case in QUICK else pytest.mark.slow) for case in CASES]


@pytest.mark.parametrize("algorithm, zoo, name", CASES)
def test_resumed_equals_straight_to_the_last_bit(algorithm, zoo, name, short_problem, pendulum):
    problem = pendulum if name == "pendulum" else of_mountain_car(short_problem)
    end, _ = straight_and_resumed(lambda: make(algorithm, problem, zoo=zoo))
    other = make(algorithm, problem, seed=1, zoo=zoo)
    assert not same(other.incumbent(run_to_the_end(other, other.begin())), other.incumbent(end))


@pytest.mark.parametrize(
    "algorithm", [pytest.param(name, marks=[] if name in ("ppo", "td3") else pytest.mark.slow) for name in BOXES]
)
def test_it_learns_what_the_librarys_own_loop_learns(algorithm, short_problem, monkeypatch):
    problem = of_mountain_car(short_problem)
    search = make(algorithm, problem, zoo=True)
    ours = run_to_the_end(search, search.begin())
    library = search.begin().learner
    with library.generators.in_use():
        library.model.learn(ours.learner.steps, log_interval=None)
    # Schedules that fall with the steps would differ; these settings have none.
    assert same(library.policy(), ours.learner.policy())


@pytest.mark.parametrize(
    "algorithm", ["sac", *(pytest.param(name, marks=pytest.mark.slow) for name in ("td3", "ddpg", "tqc"))]
)
def test_it_learns_what_rl_zoos_own_tool_learns(algorithm, short_problem, tmp_path):
    problem = of_mountain_car(short_problem)
    entry = zoo_entry(algorithm, problem.spec.id)
    small = entry._replace(settings=entry.settings | SMALL)
    learner = Learner(algorithm, zoo_hyperparameters(algorithm, small, BUDGET), problem, seed=0, budget=BUDGET)
    while learner.steps + learner.least_steps <= BUDGET:
        learner.learn(1)
    (tmp_path / "settings.yml").write_text(yaml.safe_dump({ID: small.settings}))
    words = [
        "--algo", algorithm, "--env", ID, "--gym-packages", "tests.search.rivals.same_starts", "-conf", str(tmp_path / "settings.yml"),
        "-n", str(learner.steps), "--eval-freq", "-1", "--seed", "0", "--num-threads", "1", "-f", str(tmp_path), "--device", "cpu",
    ]  # fmt: skip
    done = subprocess.run([sys.executable, "-m", "rl_zoo3.train", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    library = type(learner.model).load(next(tmp_path.glob(f"{algorithm}/*/{ID}.zip")), device="cpu")
    assert learner.model._n_updates == library._n_updates > 0
    assert same(to_policy(library, problem.network), learner.policy())


@pytest.mark.parametrize("algorithm, zoo, name", CASES)
def test_the_policy_acts_as_the_learner_on_raw_observations(algorithm, zoo, name, short_problem, pendulum, tmp_path):
    problem = pendulum if name == "pendulum" else of_mountain_car(short_problem)
    search = make(algorithm, problem, zoo=zoo)
    state = run_to_the_end(search, search.begin())
    learner, policy = state.learner, search.incumbent(state)
    assert zoo or policy.layout.hidden == problem.network.layout.hidden
    space = learner.model.observation_space
    observations = np.random.default_rng(0).uniform(space.low, space.high, (60, *space.shape)).astype(np.float32)
    given = observations if learner.normal is None else learner.normal.normalize_obs(observations)
    expected = learner.model.predict(given, deterministic=True)[0]
    policy.save(tmp_path / "policy.npz")
    found = load_policy(tmp_path / "policy.npz").act(torch.from_numpy(observations)).numpy()
    assert found == pytest.approx(expected, abs=1e-5)


def test_bounds_of_the_library_are_kept(short_problem, tmp_path):
    search = make("sac", of_mountain_car(short_problem), zoo=True)
    assert search.incumbent(search.begin()).limit == 2.0  # of the mean under state-dependent noise
    search = make("ppo", of_mountain_car(short_problem), zoo=True)
    policy = search.incumbent(search.begin())
    assert policy.observation_clip == 10.0 and policy.squash == "clip" and not policy.is_plain
    far = torch.tensor([[1e6, -1e6]])
    assert torch.equal(policy.act(far), policy.act(2 * far))


def test_generations_end_with_episodes_and_never_exceed_the_budget(pendulum):
    search = make("sac", pendulum, chunk=30, budget=130)
    state, steps = search.begin(), []
    while state.learner.steps + search.cost(state) <= 130:
        state, generation = search.step(state)
        steps.append((generation.steps, generation.episodes))
    assert steps == [(50, 2), (50, 2), (30, 1)]  # the last is cut off by the budget


def test_episodes_have_the_seeds_of_searches_whatever_the_library_gives(pendulum):
    seeds = []

    class Spy(gymnasium.Wrapper):
        def reset(self, *, seed=None, options=None):
            seeds.append(seed)
            return self.env.reset(seed=seed, options=options)

    search = make("ppo", pendulum, zoo=True)
    learner = search.begin().learner
    for one in learner.episodes:
        one.env = Spy(one.env)
    learner.learn(1)
    assert len(set(seeds)) == len(seeds) >= 8 and min(seeds) >= TRAINING_SEEDS


def test_an_environment_that_depends_on_more_than_its_seed_is_not_resumed(pendulum, monkeypatch):
    search = make("sac", pendulum)
    state, _ = search.step(search.begin())
    packed = search.pack(state)
    packed["episodes"][0]["seen"][0] += 1e-3
    with pytest.raises(UserError, match=r"cannot be resumed.*depends on more than its seed"):
        search.unpack(packed)


def test_ppo_is_measured_as_gymnasium_would(problem):
    search = make("ppo", problem, zoo=True)
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


@pytest.mark.parametrize("algorithm, line", [("sac", "[baselines]"), ("tqc", "[baselines]"), ("cmaes", "[cmaes]")])
def test_a_missing_extra_is_refused_with_the_line_that_installs_it(algorithm, line, monkeypatch):
    monkeypatch.setattr("lightning_pz.common.checks.is_installed", lambda module: False)
    with pytest.raises(UserError) as error:
        check_algorithm_package(algorithm)
    assert str(error.value).endswith(f"pip install 'lightning_pz{line}'")
    check_algorithm_package("pgpe")
