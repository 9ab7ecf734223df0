"""The few-episode study on a tiny grid: runs once, draws what is there, and counts the runs of a file as done."""

import csv
import dataclasses

import gymnasium
import numpy as np
import pytest
import yaml

from lightning_pz.common.errors import UserError
from lightning_pz.envs.presets import conf_dir
from lightning_pz.search.objective import TEST_SEEDS
from sweeps.__main__ import main
from sweeps.few_episodes import few_command, few_tables
from sweeps.few_episodes.few_grid import load_few_episodes
from sweeps.few_episodes.ledger import RunRow, longest, read_ledger, write_ledger
from tests.sweeps.conftest import TINY

FIT = {**TINY, "model.latent_dim": 2, "data.recipe": "random", "data.random.seed": "{seed}"}
GRID = {
    "environments": {
        "mountaincar": {
            "policy": "small", "tasks": ["standard", "left"], "area": 4, "paper": True,
            "pools": {"random": {"run": "tiny", "seeds": 2, "fit": FIT}},
        },
    },
    "finetune": {
        "budget": 12000, "episodes": 6, "answers_at": [0, 1, 4], "answer_episodes": 2, "evaluation_episodes": 2,
        "evaluate_every": 6000, "test_episodes": 2, "pgpe.population": 2, "starts": 1,
    },
    "contenders": {
        "latents": {
            "kind": "ours", "pool": "random", "finetune": {"algorithm": "pgpe"}, "parts": [{"env": "mountaincar", "seeds": 3}],
        },
        "PPO": {
            "kind": "rival", "pool": "random", "finetune": {"algorithm": "ppo", "hyperparameters": "zoo", "episodes": 1, "answers_at": [0, 1]},
            "parts": [{"env": "mountaincar", "seeds": 2, "tasks": ["left"]}],
        },
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    folder = tmp_path_factory.mktemp("few")
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump(GRID))
    arguments = ["few_episodes", "--grid", str(path), "--logs", str(folder / "logs")]
    main(arguments)
    return arguments


def folder_of(command):
    from pathlib import Path

    (folder,) = (Path(command[-1]) / "sweeps").glob("few_episodes-*")
    return folder


@pytest.mark.slow
def test_it_leaves_a_row_for_each_run_and_its_figures_and_tables(command):
    folder = folder_of(command)
    rows = read_ledger(folder / "runs.csv")
    assert len(rows) == 3 * 2 + 2 and len({row.key for row in rows}) == len(rows)
    ours = [row for row in rows if row.contender == "latents"]
    assert {row.seed for row in ours} == {0, 1, 2} and all(set(row.answers) == {0, 1, 4} for row in ours)
    # The search of seed 2 begins from the fit with seed 0, and is another run than the one of seed 0.
    assert all(row.episodes >= 6 for row in ours) and all(row.episodes == 1 for row in rows if row.contender == "PPO")
    for name in (
        "few_curves.png",
        "few_leads.png",
        "few-leads.md",
        "few-claim.csv",
        "few-returns.csv",
        "few-verdicts.csv",
    ):
        assert (folder / name).stat().st_size > 50, name
    with (folder / "few-returns.csv").open() as file:
        (found,) = [
            r for r in csv.DictReader(file) if (r["task"], r["contender"], r["episodes"]) == ("left", "latents", "1")
        ]
    own = np.array([row.answers[1] for row in ours if row.task == "left"])
    assert float(found["return"]) == pytest.approx(own.mean(), rel=1e-4) and found["runs"] == "3"


@pytest.mark.slow
def test_finished_runs_are_not_repeated_whether_in_the_folder_or_in_the_package(command, monkeypatch, tmp_path):
    monkeypatch.setattr(few_command, "_run", lambda cell, logs: pytest.fail("repeated"))
    main(command)
    main([*command, "--show", "true", "--contender", "latents"])
    ledger = folder_of(command) / "runs.csv"
    monkeypatch.setattr(few_command, "SHIPPED", ledger)
    elsewhere = [*command[:-1], str(tmp_path / "logs")]
    main(elsewhere)  # on another machine
    assert read_ledger(folder_of(elsewhere) / "runs.csv") == read_ledger(ledger)


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--env", "mars"], "--env expects one of mountaincar"),
        (["--contender", "SAC"], "--contender expects one of latent CMA-ES"),
        (["--show", "true"], "no run of .* is finished"),
    ],
)
def test_mistakes_are_refused(words, sentence, tmp_path, monkeypatch):
    monkeypatch.setattr(few_command, "SHIPPED", tmp_path / "none.csv")
    with pytest.raises(UserError, match=sentence):
        main(["few_episodes", *words, "--logs", str(tmp_path / "logs")])


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"pool": "grown"}, "pool expects one of random"),
        ({"parts": [{"env": "hopper", "seeds": 1}]}, "env expects one of mountaincar"),
        (
            {"finetune": {"algorithm": "pgpe", "answers_at": [1]}},
            r"answers_at expects a list that begins with 0, but got \[1\]",
        ),
        ({"finetune": {"algorithm": "pqpe"}}, "pqpe"),
    ],
)
def test_mistakes_in_the_file_name_it(change, sentence, tmp_path):
    grid = {**GRID, "contenders": {"latents": GRID["contenders"]["latents"] | change}}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid))
    with pytest.raises(UserError, match=f"grid.yaml: .*{sentence}"):
        main(["few_episodes", "--grid", str(tmp_path / "grid.yaml"), "--logs", str(tmp_path / "logs")])
    assert not (tmp_path / "logs" / "finetune").exists()


def test_the_shipped_study_is_what_its_page_says():
    grid = load_few_episodes(conf_dir() / "sweep" / "few_episodes.yaml")
    assert sum(len(env.tasks) for env in grid.environments.values()) == 17
    assert sum(len(env.tasks) for env in grid.environments.values() if env.paper) == 8
    cells = list(grid.cells())
    assert len({cell.key for cell in cells}) == len(cells)
    assert grid.at == [0, 1, 2, 5, 10, 20, 50, 100]
    for name, contender in grid.contenders.items():
        seeds = {cell.seed for cell in cells if cell.name == name}
        assert contender.kind != "ours" or len(seeds) == 10
    few_command._check(grid, "shipped")


def test_a_key_covers_what_decides_the_result():
    grid = load_few_episodes(conf_dir() / "sweep" / "few_episodes.yaml")
    cell = next(cell for cell in grid.cells() if cell.contender.kind == "ours")
    keys = {cell.key}
    for change in (
        {"seed": 1}, {"task": "backward"}, {"env": "hopper"}, {"settings": cell.settings | {"budget": 5}},
        {"where": dataclasses.replace(cell.where, policy="small")},
    ):  # fmt: skip
        keys.add(dataclasses.replace(cell, **change).key)
    assert len(keys) == 6
    rival = next(cell for cell in grid.cells() if cell.contender.kind == "rival")
    pools = {name: dataclasses.replace(pool, fit={}) for name, pool in rival.where.pools.items()}
    assert dataclasses.replace(rival, where=dataclasses.replace(rival.where, pools=pools)).key == rival.key


def test_doing_nothing_is_measured_as_gymnasium_would():
    grid = load_few_episodes(conf_dir() / "sweep" / "few_episodes.yaml")
    grid = dataclasses.replace(grid, finetune={**grid.finetune, "answer_episodes": 3})
    found = few_command._still(grid, [row_of("reacher", "speed"), row_of("mountaincar", "standard")])
    env = gymnasium.make("MountainCarContinuous-v0")
    totals = []
    for seed in range(TEST_SEEDS, TEST_SEEDS + 3):
        env.reset(seed=seed)
        total, ended = 0.0, False
        while not ended:
            _, reward, terminated, truncated, _ = env.step(np.zeros(1, dtype=np.float32))
            total, ended = total + float(reward), terminated or truncated
        totals.append(total)
    assert found["mountaincar", "standard"] == pytest.approx(np.mean(totals), abs=1e-6)


def row_of(env="reacher", task="speed", name="a", seed=0, **more):
    own = {"key": f"{env}{task}{name}{seed}", "episodes": 4, "env_steps": 9, "end": 2.5, "answers": {0: 1.0, 2: 1.5}}
    return RunRow(env=env, task=task, contender=name, seed=seed, **own | more)


def test_a_ledger_holds_what_was_written_in_one_order_and_refuses_another_file(tmp_path):
    rows = [row_of(seed=1), row_of(answers={0: -3.25, 20: 7.0}), row_of("hopper", end=-2.0)]
    write_ledger(tmp_path / "a.csv", rows)
    write_ledger(tmp_path / "b.csv", rows[::-1])
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert {row.key: row for row in read_ledger(tmp_path / "a.csv")} == {row.key: row for row in rows}
    assert read_ledger(tmp_path / "none.csv") == []
    (tmp_path / "c.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"c.csv is no file of runs"):
        read_ledger(tmp_path / "c.csv")


def test_of_two_runs_with_one_seed_the_longer_one_counts():
    short, long = row_of(key="x"), row_of(answers={0: 1.0, 2: 1.5, 9: 3.0}, key="y")
    assert longest([short, long, row_of(seed=1)]) == [long, row_of(seed=1)]


def test_areas_leave_out_runs_that_end_before():
    grid = load_few_episodes(conf_dir() / "sweep" / "few_episodes.yaml", ["reacher"])
    counts = {count: float(count) for count in grid.at}
    rows = [row_of(name="latent PGPE", seed=seed, answers=counts) for seed in range(2)]
    rows += [row_of(name="SAC (RL Zoo)", seed=seed) for seed in range(2)]
    (one,) = few_tables.collect_answers(grid, rows, {("reacher", "speed"): 0.0})
    found = few_tables.areas(grid, one, ["latent PGPE", "SAC (RL Zoo)"])
    held = [max(count for count in grid.at if count <= episode) for episode in range(100)]
    assert list(found) == ["latent PGPE"] and found["latent PGPE"] == pytest.approx([np.mean(held)] * 2)
