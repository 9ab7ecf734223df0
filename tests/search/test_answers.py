"""What a search would answer after some episodes: which policies are kept, and how they are measured."""

import csv

import numpy as np
import pytest

from lightning_pz.common.errors import UserError
from lightning_pz.common.known_folders import Identity
from lightning_pz.common.run_folder import RunFolder
from lightning_pz.envs.episode_seeds import TEST_SEEDS
from lightning_pz.search.algorithm_settings import BaselineSettings, CmaesSettings, PgpeSettings
from lightning_pz.search.algorithms import make_search
from lightning_pz.search.answers import due_answers
from lightning_pz.search.loop import search_until_done
from lightning_pz.search.objective import Objective
from lightning_pz.search.off_policy import pace_rules
from lightning_pz.search.rivals.hyperparameters import Hyperparameters
from lightning_pz.search.rivals.search import BaselineSearch
from lightning_pz.search.settings import SearchSettings


def test_an_answer_is_due_before_the_generation_that_goes_beyond_it():
    assert due_answers([0, 1, 4, 5, 9], 0, 4) == [0, 1]
    assert due_answers([0, 1, 4, 5, 9], 4, 8) == [4, 5]
    assert due_answers([], 0, 4) == []


def settings_of(algorithm, **more):
    given = {
        "budget": 3_000, "starts": 3, "start_share": 1.0, "evaluation_episodes": 2, "test_episodes": 2, "answer_episodes": 4,
        "answers_at": [0, 2, 7, 12, 1000], "checkpoint_seconds": 0.0, "pgpe": PgpeSettings(population=4),
        "cmaes": CmaesSettings(population=5), "baselines": BaselineSettings(chunk=200),
    }  # fmt: skip
    return SearchSettings(algorithm=algorithm, **given | more)  # a rival stops at the counts that are asked for


def rows_of(folder):
    with (folder / "answers.csv").open() as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def run(settings, problem, latents, weights, path, stop_after=None):
    path.mkdir(exist_ok=True)
    calls = []

    def on_steps(steps):
        calls.append(steps)
        if stop_after is not None and len(calls) > stop_after:
            raise KeyboardInterrupt

    search = make_search(settings, Objective(problem), latents, weights)
    return search, search_until_done(search, Objective(problem), settings, RunFolder(path, Identity({})), on_steps)


@pytest.mark.parametrize(
    ("algorithm", "by"),
    [
        ("pgpe", "episodes"),
        ("cmaes", "episodes"),
        ("gradient", "episodes"),
        ("parameter_pgpe", "episodes"),
        ("pgpe", "steps"),
        pytest.param("sac", "steps", marks=pytest.mark.slow),
        pytest.param("ppo", "episodes", marks=pytest.mark.slow),
    ],
)
def test_answers_are_the_incumbents_before_those_episodes_and_resumed_equals_straight(
    algorithm, by, short_problem, latents, weights, tmp_path
):
    more = {"budget": 2_500 if algorithm == "ppo" else 250} if algorithm in ("ppo", "sac") else {}
    if algorithm == "gradient":
        more |= {"starts": 4}
    if by == "steps":
        more |= {"answers_by": "steps", "answers_at": [0, 100, 140, 2048, 100_000]}
    settings = settings_of(algorithm, **more)
    search, progress = run(settings, short_problem, latents, weights, tmp_path / "straight")
    rows = rows_of(tmp_path / "straight")
    assert [row[by] for row in rows][:-1] == [n for n in settings.answers_at if n <= progress.counted(by)]
    assert rows[-1][by] == progress.counted(by) and rows[-1]["env_steps"] == progress.env_steps
    if algorithm == "sac":  # it takes a step at a time and stops at the very step
        assert rows[2]["env_steps"] == 140

    # By hand: the incumbent of the last state with at most so many episodes, on episodes that chose nothing.
    state, taken, steps, held = search.begin(), 0, 0, {}
    while steps < progress.env_steps:
        before, begun = search.incumbent(state), taken
        state, generation = search.step(state)
        taken, steps = taken + getattr(generation, by), steps + generation.steps
        held |= {n: before for n in settings.answers_at if begun <= n < taken}
    objective = Objective(short_problem)
    for row in rows[:-1]:
        policy = held.get(int(row[by])) or search.incumbent(state)
        each = objective.measure(policy, list(range(TEST_SEEDS, TEST_SEEDS + 4))).each[0]
        assert row["return"] == pytest.approx(each.mean()) and row["return_low"] <= row["return"] <= row["return_high"]

    with pytest.raises(KeyboardInterrupt):
        run(settings, short_problem, latents, weights, tmp_path / "resumed", stop_after=1)
    _, again = run(settings, short_problem, latents, weights, tmp_path / "resumed")
    assert rows_of(tmp_path / "resumed") == rows and again.episodes == progress.episodes
    assert [row[2:4] for row in again.rows] == [row[2:4] for row in progress.rows]


@pytest.mark.parametrize("stops", [[5, 9, 11], [1, 4, 12, 13]])
def test_an_answer_rests_on_all_updates_before_that_episode(stops, short_problem, tmp_path):
    """Of a learner that updates after four episodes, and whose generations have room for several updates."""
    given = Hyperparameters({"n_steps": 240, "batch_size": 60, "policy_kwargs": {"net_arch": [8]}})  # 4 episodes of 60
    settings = SearchSettings(
        "ppo", budget=3_600, answers_at=stops, answer_episodes=4, evaluation_episodes=2, test_episodes=2
    )
    search = BaselineSearch(
        "ppo", given, short_problem, seed=0, budget=3_600, chunk=2_000, stops={"episodes": tuple(stops)}
    )
    objective = Objective(short_problem)
    search_until_done(search, objective, settings, RunFolder(tmp_path, Identity({})))
    learner, held = search.begin().learner, []
    while learner.steps < 960:
        held.append(learner.policy())
        learner.learn(chunk=1)  # a rollout
    *rows, _ = rows_of(tmp_path)
    assert [row["env_steps"] for row in rows] == [stop // 4 * 240 for stop in stops]
    for stop, row in zip(stops, rows, strict=True):
        each = objective.measure(held[stop // 4], list(range(TEST_SEEDS, TEST_SEEDS + 4))).each[0]
        assert row["return"] == pytest.approx(each.mean())


def test_an_answer_is_the_policy_as_the_episode_ends_however_many_updates_the_next_one_has(short_problem, tmp_path):
    """Of a learner that updates three times an episode: before the first episode it has learned nothing."""
    given = Hyperparameters({"n_steps": 20, "batch_size": 20, "policy_kwargs": {"net_arch": [8]}})
    settings = SearchSettings(
        "ppo", budget=400, answers_at=[0, 1, 3, 6], answer_episodes=4, evaluation_episodes=2, test_episodes=2
    )
    search = BaselineSearch(
        "ppo", given, short_problem, seed=0, budget=400, chunk=2_000, stops={"episodes": (0, 1, 3, 6)}
    )
    search_until_done(search, Objective(short_problem), settings, RunFolder(tmp_path, Identity({})))
    *rows, _ = rows_of(tmp_path)
    assert [(row["episodes"], row["env_steps"]) for row in rows] == [(0, 0), (1, 60), (3, 180), (6, 360)]


def test_a_search_ends_with_the_generation_that_reaches_its_episodes(short_problem, latents, weights, tmp_path):
    _, progress = run(settings_of("pgpe", episodes=9), short_problem, latents, weights, tmp_path / "pgpe")
    assert progress.episodes == 3 + 4 + 4  # starts and two generations
    _, progress = run(settings_of("sac", episodes=3), short_problem, latents, weights, tmp_path / "sac")
    assert progress.episodes == 3 and np.isfinite(progress.best_return)


@pytest.mark.parametrize(
    "more, sentence",
    [
        ({"answers_at": [3, -1]}, "--answers_at expects at least 0, but got -1"),
        ({"episodes": 0}, "--episodes expects at least 1, but got 0"),
        ({"answer_episodes": 1}, "--answer_episodes expects at least 2, but got 1"),
        ({"hyperparameters": "zoo"}, "--hyperparameters zoo goes with --algorithm ppo or sac"),
    ],
)
def test_settings_that_cannot_be(more, sentence):
    with pytest.raises(UserError, match=sentence):
        SearchSettings(**more)


def test_what_no_setting_names_is_in_the_identity(monkeypatch):
    def rules(**more):
        return SearchSettings(**more).identity().get("rules")

    searches = {"algorithm": "td3", "space": "latent"}
    before = rules(**searches)
    for name, value in {key: value for key, value in vars(pace_rules).items() if key.isupper()}.items():
        with monkeypatch.context() as patch:
            patch.setattr(pace_rules, name, value + 1)
            assert rules(**searches) != before, name
    assert rules(**searches) == before and rules(algorithm="td3") is None
    assert rules(algorithm="ppo", answers_at=[5]) == {"answers": 2} != rules(algorithm="ppo")
    assert rules(algorithm="ppo", answers_at=[5], answers_by="steps") is rules(algorithm="sac", answers_at=[5]) is None


def test_an_identity_without_answers_is_the_one_of_before():
    before = SearchSettings().identity()
    assert not {"episodes", "answers_at", "answers_by", "answer_episodes", "hyperparameters"} & before.keys()
    assert SearchSettings(answers_at=[1]).identity()["answer_episodes"] == 50
