"""Budget, curve, incumbent and resumption of the loop, with every algorithm that can be resumed."""

import csv
import itertools
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_pz.common.errors import UserError
from lightning_pz.common.known_folders import Identity
from lightning_pz.common.run_folder import RunFolder
from lightning_pz.common.statistics import mean_interval
from lightning_pz.envs.episode_seeds import EVALUATION_SEEDS, TEST_SEEDS
from lightning_pz.envs.rollout import rollout
from lightning_pz.policy.saved import SavedPolicy
from lightning_pz.search.algorithm_settings import GradientSettings, PgpeSettings, RandomLatentSettings
from lightning_pz.search.algorithms import make_search
from lightning_pz.search.generation import Generation
from lightning_pz.search.loop import BARREN, COLUMNS, check_budget, search_until_done, summarize
from lightning_pz.search.objective import Objective
from lightning_pz.search.settings import SearchSettings

RESUMABLE = ("pgpe", "cmaes", "random_latent", "gradient", "parameter_pgpe", "bo")


@pytest.fixture(scope="module")
def problem(short_problem):
    return short_problem


def settings_of(algorithm, **more):
    given = {
        "budget": 1_800, "starts": 4, "start_share": 1.0, "evaluation_episodes": 3, "test_episodes": 5, "checkpoint_seconds": 0.0,
        "pgpe": PgpeSettings(population=4), "random_latent": RandomLatentSettings(population=3),
        "gradient": GradientSettings(policies=2, episodes=2),
    }  # fmt: skip
    return SearchSettings(algorithm=algorithm, **given | more)


def folder_at(path):
    path.mkdir(exist_ok=True)
    return RunFolder(path, Identity({}))


def run_in(settings, problem, latents, weights, path, stop_after=None):
    """Run a search in a folder; interrupt it after some generations if asked to."""
    objective, calls = Objective(problem), []

    def on_steps(steps):
        calls.append(steps)
        if stop_after is not None and len(calls) > stop_after:
            raise KeyboardInterrupt

    search = make_search(settings, objective, latents, weights)
    return search_until_done(search, objective, settings, folder_at(path), on_steps), objective


def without_seconds(path):
    with (path / "curve.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == list(COLUMNS)
    return [row[:1] + row[2:] for row in rows]


@pytest.mark.parametrize("algorithm", RESUMABLE)
def test_a_resumed_run_equals_a_straight_one(algorithm, problem, latents, weights, tmp_path):
    more = {"release_decoder_at": 900} if algorithm == "gradient" else {}
    settings = settings_of(algorithm, budget=2_400, **more)
    straight, _ = run_in(settings, problem, latents, weights, tmp_path / "straight")
    for stop in (2, 2):
        with pytest.raises(KeyboardInterrupt):
            run_in(settings, problem, latents, weights, tmp_path / "stopped", stop)
    stopped_at = len(without_seconds(tmp_path / "stopped")) - 1
    resumed, _ = run_in(settings, problem, latents, weights, tmp_path / "stopped")
    assert 0 < stopped_at < len(straight.rows)
    assert without_seconds(tmp_path / "straight") == without_seconds(tmp_path / "stopped")
    assert torch.equal(straight.best.params, resumed.best.params) and straight.best_return == resumed.best_return


@pytest.mark.parametrize("algorithm", RESUMABLE[:4])
def test_a_run_that_version_0_1_left_unfinished_is_resumed(algorithm, problem, latents, weights, tmp_path):
    """Its state names classes by the modules that held them then."""
    shutil.copy(Path(__file__).parent / "states_of_version_0_1" / f"{algorithm}.pt", tmp_path / "state.pt")
    progress, _ = run_in(settings_of(algorithm), problem, latents, weights, tmp_path)
    straight, _ = run_in(settings_of(algorithm), problem, latents, weights, tmp_path / "straight")
    ours, theirs = (torch.tensor(p.rows)[:, [0, 2, 3, 4, 5, 6]] for p in (progress, straight))
    torch.testing.assert_close(ours[:3], theirs[:3], rtol=1e-4, atol=1e-4)
    assert ours.shape == theirs.shape and (ours[:, 0] == theirs[:, 0]).all()


def test_a_run_killed_in_the_middle_of_a_generation_resumes_to_the_same_curve(
    problem, latents, weights, tmp_path, monkeypatch
):
    settings = settings_of("pgpe")
    run_in(settings, problem, latents, weights, tmp_path / "straight")
    original, count = Objective.__call__, []

    def call(self, params, seeds):
        count.append(1)
        if len(count) == 4:
            raise SystemExit  # nothing is saved on the way out: as good as killed
        return original(self, params, seeds)

    monkeypatch.setattr(Objective, "__call__", call)
    with pytest.raises(SystemExit):
        run_in(settings, problem, latents, weights, tmp_path / "killed")
    run_in(settings, problem, latents, weights, tmp_path / "killed")
    assert without_seconds(tmp_path / "straight") == without_seconds(tmp_path / "killed")


@pytest.mark.parametrize("algorithm", RESUMABLE)
def test_steps_are_counted_exactly_and_stay_within_the_budget(
    algorithm, problem, latents, weights, tmp_path, monkeypatch
):
    from lightning_pz.envs.simulators.classic import MountainCarSimulator

    taken, inside = [], []
    original, measure = MountainCarSimulator.step, Objective.measure

    def step(self, actions, active):
        (inside if inside else taken).append(len(active))
        return original(self, actions, active)

    def evaluate(self, policy, seeds):
        inside.append(0)
        found = measure(self, policy, seeds)
        inside.clear()
        return found

    monkeypatch.setattr(MountainCarSimulator, "step", step)
    monkeypatch.setattr(Objective, "measure", evaluate)
    settings = settings_of(algorithm)
    progress, _ = run_in(settings, problem, latents, weights, tmp_path)
    assert progress.env_steps == sum(taken) <= settings.budget
    search = make_search(settings, Objective(problem), latents, weights)
    assert progress.env_steps + search.cost(progress.search) > settings.budget
    assert progress.rows[-1][0] == progress.env_steps
    assert [row[0] for row in progress.rows] == sorted({row[0] for row in progress.rows})


def test_rows_hold_what_they_say(problem, latents, weights, network, tmp_path):
    settings = settings_of("pgpe", budget=720)
    progress, objective = run_in(settings, problem, latents, weights, tmp_path)
    search = make_search(settings, objective, latents, weights)
    state = search.begin()
    for row in progress.rows:
        state, generation = search.step(state)
        policy = search.incumbent(state)
        played = rollout(
            network, policy.params[None], problem.spec, range(EVALUATION_SEEDS, EVALUATION_SEEDS + 3),
            {"standard": problem.reward},
        )  # fmt: skip
        assert row[2] == played.returns["standard"].mean()
        assert row[3:6] == [generation.returns.mean(), generation.returns.max(), generation.sigma]
    assert progress.best_return == max(row[2] for row in progress.rows)


def test_the_result_is_measured_on_other_episodes_than_those_that_chose(problem, latents, weights, tmp_path, network):
    settings = settings_of("pgpe", budget=720)
    progress, objective = run_in(settings, problem, latents, weights, tmp_path)
    summary = summarize(progress, objective, settings)
    played = rollout(
        network, progress.best.params[None], problem.spec, range(TEST_SEEDS, TEST_SEEDS + 5),
        {"standard": problem.reward},
    )  # fmt: skip
    assert summary["standard/return"] == played.returns["standard"].mean()
    assert summary["standard/return_low"] <= summary["standard/return"] <= summary["standard/return_high"]
    assert summary["standard/eval_return"] == progress.best_return


def test_evaluations_come_when_they_are_due_and_at_the_end(problem, latents, weights, tmp_path):
    often, _ = run_in(settings_of("pgpe"), problem, latents, weights, tmp_path / "often")
    seldom, _ = run_in(settings_of("pgpe", evaluate_every=480), problem, latents, weights, tmp_path / "seldom")
    steps = [row[0] for row in seldom.rows]
    assert steps[-1] == seldom.env_steps == often.env_steps
    assert [s // 480 for s in steps[:-1]] == [1, 2, 3]
    assert set(map(tuple, ([row[0], *row[2:]] for row in seldom.rows))) < set(
        map(tuple, ([row[0], *row[2:]] for row in often.rows))
    )


class _Scripted:
    """A search whose incumbents are given, to test the loop alone."""

    is_pure, state_types, least_budget = True, (), 1

    def __init__(self, policies):
        self.policies = policies

    def begin(self):
        return 0

    def pack(self, state):
        return state

    def unpack(self, packed):
        return packed

    def cost(self, state):
        return 1

    def step(self, state):
        return state + 1, Generation(1, np.array([1.0, np.nan]), 0.5, 2)

    def incumbent(self, state):
        return self.policies[state - 1]


def test_patience_the_best_incumbent_and_invalid_members(problem, weights, network, objective, tmp_path):
    params = weights.decode(weights.draw(12, 0))
    values = objective(params, list(range(EVALUATION_SEEDS, EVALUATION_SEEDS + 3))).mean
    order = np.argsort(values)
    chosen = [order[0], order[5], order[2], order[1], order[9]]
    policies = [SavedPolicy.of(network, params[i]) for i in chosen]
    settings = settings_of("pgpe", budget=5, patience=2)
    progress = search_until_done(_Scripted(policies), objective, settings, folder_at(tmp_path))
    # Better, better, worse, worse: stop; the fifth never comes.
    assert [row[2] for row in progress.rows] == values[chosen[:4]].tolist()
    assert torch.equal(progress.best.params, policies[1].params)
    assert progress.invalid == 4 and [row[6] for row in progress.rows] == [1, 2, 3, 4]


def test_an_incumbent_that_overflows_is_never_the_best_of_several(problem, weights, network, objective, tmp_path):
    params = weights.decode(weights.draw(2, 0))
    params[0] = torch.inf
    policies = [SavedPolicy.of(network, row) for row in params]
    settings = settings_of("pgpe", budget=2)
    progress = search_until_done(_Scripted(policies), objective, settings, folder_at(tmp_path))
    assert math.isnan(progress.rows[0][2]) and torch.equal(progress.best.params, policies[1].params)


class _Lost:
    """A simulator whose reset gives NaN after a number of good resets."""

    def __init__(self, simulator, good):
        self.spec, self.size, self.simulator, self.good = simulator.spec, simulator.size, simulator, good

    def reset(self, seeds):
        observations = self.simulator.reset(seeds)
        # Evaluations, which begin at the first evaluation seed, stay what they are.
        if seeds[0] != EVALUATION_SEEDS and seeds[0] != TEST_SEEDS:
            self.good[0] -= 1
            return observations if self.good[0] >= 0 else np.full_like(observations, np.nan)
        return observations if self.good[1] else np.full_like(observations, np.nan)

    def step(self, actions, active):
        return self.simulator.step(actions, active)


@pytest.mark.parametrize("algorithm", RESUMABLE)
def test_a_search_whose_episodes_are_invalid_from_the_first_observation_ends(
    algorithm, problem, latents, weights, tmp_path, monkeypatch
):
    from lightning_pz.search import objective as objective_module

    good = [0, False]
    make = objective_module.make_simulator
    monkeypatch.setattr(objective_module, "make_simulator", lambda *given: _Lost(make(*given), good))
    settings = settings_of(algorithm, budget=10**9, start_share=1e-3)
    with pytest.raises(
        UserError, match=rf"no episode stayed finite in {BARREN} generations of {algorithm} on Mountain"
    ):
        run_in(settings, problem, latents, weights, tmp_path / "never")
    # One that loses its way after a good beginning gives what it found, and says so.
    good[:] = [3, True]
    progress, objective = run_in(settings, problem, latents, weights, tmp_path / "later")
    assert progress.barren == BARREN and math.isfinite(progress.best_return) and len(progress.rows) == 3 + BARREN
    steps = [row[0] for row in progress.rows]
    assert all(after > before for before, after in itertools.pairwise(steps))  # no evaluation is free
    assert "no episode stayed finite" in summarize(progress, objective, settings)["ended"]


@pytest.mark.parametrize("algorithm", [*RESUMABLE, "ppo"])
def test_a_budget_below_one_generation_is_refused(algorithm, problem, latents, weights):
    settings = settings_of(algorithm, budget=50)
    search = make_search(settings, Objective(problem), latents, weights)
    with pytest.raises(UserError, match=f"--budget 50 is smaller than one generation.* {search.least_budget} env"):
        check_budget(search, settings)


def test_interval_against_the_normal_approximation():
    values = np.random.default_rng(0).normal(3, 2, 400)
    mean, low, high, _ = mean_interval(values)
    assert mean == pytest.approx(values.mean())
    assert (low, high) == pytest.approx((mean - 1.96 * 0.1, mean + 1.96 * 0.1), abs=0.02)
    assert np.isnan(mean_interval(np.array([1.0, np.nan]))[:3]).all()
