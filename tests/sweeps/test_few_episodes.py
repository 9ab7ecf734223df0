"""The few-episode study on a tiny grid: runs once, draws what is there, and counts the runs of a file as done."""

import csv
import dataclasses
from collections import Counter, defaultdict

import gymnasium
import numpy as np
import pytest
import yaml

from lightning_pz.common.errors import UserError
from lightning_pz.envs.episode_seeds import TEST_SEEDS
from lightning_pz.envs.presets import conf_dir
from sweeps.__main__ import main
from sweeps.few_episodes import few_command, few_page, few_tables
from sweeps.few_episodes import run_key as run_key_module
from sweeps.few_episodes.few_grid import load_few_episodes
from sweeps.few_episodes.ledger import all_shipped, read_ledger, shipped
from sweeps.few_episodes.run_key import run_key, search_of
from sweeps.fits import check_all
from sweeps.results import publishing
from sweeps.results.pages import FOLDER, PageTable
from tests.sweeps.conftest import TINY

FIT = {**TINY, "model.latent_dim": 2, "data.recipe": "random", "data.random.seed": "{seed}"}
GRID = {
    "environments": {
        "reacher": {
            "policy": "small", "tasks": ["speed", "radial"], "area": 4, "paper": True,
            "pools": {"random": {"run": "tiny", "seeds": 2, "fit": FIT}},
        },
    },
    "finetune": {
        "budget": 600, "episodes": 6, "answers_at": [0, 1, 4], "answer_episodes": 2, "evaluation_episodes": 2,
        "evaluate_every": 300, "test_episodes": 2, "pgpe.population": 2, "starts": 1,
    },
    "contenders": {
        "latents": {
            "kind": "ours", "pool": "random", "finetune": {"algorithm": "pgpe"}, "parts": [{"env": "reacher", "seeds": 3}],
        },
        "PPO": {
            "kind": "rival", "pool": "random", "finetune": {"algorithm": "ppo", "hyperparameters": "zoo", "episodes": 1, "answers_at": [0, 1]},
            "parts": [{"env": "reacher", "seeds": 2, "tasks": ["radial"]}],
        },
    },
}  # fmt: skip


SAID = {"few-counts", "few-leads", "few-claim"}
"""Tables of the page that have something to say of so few runs and counts."""


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
    assert all(row.episodes >= 6 for row in ours)
    # A rollout of 512 steps ends ten episodes of 50, and the search after one of them ends with it.
    assert all(row.episodes == 10 for row in rows if row.contender == "PPO")
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
            r for r in csv.DictReader(file) if (r["task"], r["contender"], r["episodes"]) == ("radial", "latents", "1")
        ]
    own = {row.seed: row.answers[1] for row in ours if row.task == "radial"}
    growths = [(own[0] + own[2]) / 2, own[1]]  # of two pools, of which the first was searched twice
    assert float(found["return"]) == pytest.approx(np.mean(growths), rel=1e-4) and found["runs"] == "2"


@pytest.mark.slow
def test_finished_runs_are_not_repeated_whether_in_the_folder_or_in_the_package(command, monkeypatch, tmp_path):
    monkeypatch.setattr(few_command, "_run", lambda cell, logs: pytest.fail("repeated"))
    main(command)
    main([*command, "--show", "true", "--env", "reacher", "--contender", "latents"])
    ledger = folder_of(command) / "runs.csv"
    monkeypatch.setattr(few_command, "all_shipped", lambda: read_ledger(ledger))
    elsewhere = [*command[:-1], str(tmp_path / "logs")]
    main(elsewhere)  # on another machine
    assert read_ledger(folder_of(elsewhere) / "runs.csv") == read_ledger(ledger)


@pytest.mark.slow
def test_publishing_writes_tables_figures_and_rows_of_the_package(command, monkeypatch, tmp_path):
    monkeypatch.setattr(publishing, "FOLDER", tmp_path)
    monkeypatch.setattr(few_page, "shipped", lambda study: tmp_path / "runs.csv")
    words = [*command, "--show", "true", "--publish", "true"]
    main(words)
    assert read_ledger(tmp_path / "runs.csv") == read_ledger(folder_of(command) / "runs.csv")
    assert {path.stem for path in (tmp_path / "tables").iterdir()} == SAID
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"few_curves.png", "few_leads.png"}
    path = tmp_path / "tables" / "few-leads.csv"
    page = PageTable.read(path)
    assert "growths of ours 2" in page.about["seeds"] and [row[:2] for row in page.table.rows] == [
        ["reacher", "speed"],
        ["reacher", "radial"],
    ]
    # A head says when the numbers were made: the same numbers keep it.
    path.write_text(path.read_text().replace("# commit: ", "# commit: before "))
    main(words)
    assert PageTable.read(path).about["commit"].startswith("before ")


@pytest.mark.parametrize("study", ["few_episodes", "reuse", "pretraining"])
def test_rows_of_the_package_are_runs_of_the_study_as_it_is(study):
    """Rows of what a study once was, such as shorter growths, would look like more runs of the same contender."""
    cells = load_few_episodes(conf_dir() / "sweep" / f"{study}.yaml").cells()
    names = {run_key(cell): (cell.env, cell.task, cell.name, cell.seed) for cell in cells}
    rows = read_ledger(shipped(study))
    assert rows and [(row.env, row.task, row.contender, row.seed) for row in rows] == [
        names.get(row.key) for row in rows
    ]


@pytest.mark.parametrize("study", ["few_episodes", "reuse", "pretraining"])
def test_a_longer_run_begins_as_a_shorter_one_of_its_contender(study):
    """For it takes its place: as many starts are tried, and no settings but the counts of answers differ."""
    ends = {"budget", "episodes", "answers_at"}
    starts, settings = defaultdict(set), defaultdict(set)
    for cell in load_few_episodes(conf_dir() / "sweep" / f"{study}.yaml").cells():
        place, search = (cell.name, cell.env), search_of(cell)
        if search.start == "draws" and not search.is_rival:
            starts[place].add(search.count_starts(1000))
        settings[place].add(str(sorted((key, str(value)) for key, value in cell.settings.items() if key not in ends)))
    assert all(len(each) == 1 for each in [*starts.values(), *settings.values()])


@pytest.mark.slow
def test_the_page_is_what_the_rows_of_the_package_say(monkeypatch):
    grid = load_few_episodes(conf_dir() / "sweep" / "few_episodes.yaml")
    rows = read_ledger(shipped("few_episodes"))
    found = few_tables.collect_answers(
        grid, rows, few_command.still_returns(grid, {(row.env, row.task) for row in rows})
    )
    for name, page in few_page.page_tables(grid, found, "few_episodes").items():
        kept = PageTable.read(FOLDER / "tables" / f"{name}.csv")
        assert kept.table == page.table and kept.about["seeds"] == page.about["seeds"], name


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--env", "mars"], "--env expects one of mountaincar, reacher"),
        (["--contender", "SAC"], "--contender expects one of latent Bayesian optimization"),
        (["--show", "true"], "no run of .* is finished"),
    ],
)
def test_mistakes_are_refused(words, sentence, tmp_path, monkeypatch):
    monkeypatch.setattr(few_command, "all_shipped", list)
    with pytest.raises(UserError, match=sentence):
        main(["few_episodes", *words, "--logs", str(tmp_path / "logs")])


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"pool": "grown"}, "pool expects one of random"),
        ({"parts": [{"env": "hopper", "seeds": 1}]}, "env expects one of reacher"),
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


@pytest.mark.slow
def test_the_shipped_study_is_what_its_page_says(tmp_path):
    grid = load_few_episodes(conf_dir() / "sweep" / "few_episodes.yaml")
    assert sum(len(env.tasks) for env in grid.environments.values()) == 17
    assert sum(len(env.tasks) for env in grid.environments.values() if env.paper) == 8
    cells = list(grid.cells())
    assert len({run_key(cell) for cell in cells}) == len(cells)
    assert grid.at == [0, 1, 2, 5, 10, 20, 50, 100]
    for name, contender in grid.contenders.items():
        if contender.kind == "ours":  # from each of five growths, and from each equally often
            places = Counter((cell.env, cell.task, cell.seed % 5) for cell in cells if cell.name == name)
            assert {growth for *_, growth in places} == set(range(5)) and len(set(places.values())) == 1, name
    few_command._check(grid, "shipped")
    check_all([cell.fit(str(tmp_path)) for cell in cells if cell.seed == 0], "shipped")


@pytest.mark.slow
def test_a_key_covers_what_decides_the_result(monkeypatch):
    grid = load_few_episodes(conf_dir() / "sweep" / "few_episodes.yaml")
    cell = next(cell for cell in grid.cells() if cell.contender.kind == "ours")
    keys = {run_key(cell)}
    for change in (
        {"seed": 1}, {"task": "backward"}, {"env": "hopper"}, {"settings": cell.settings | {"budget": 5}},
        {"where": dataclasses.replace(cell.where, policy="small")},
    ):  # fmt: skip
        keys.add(run_key(dataclasses.replace(cell, **change)))
    # A default counts like what the file says.
    search = run_key_module.search_of(cell)
    changed = dataclasses.replace(search, bo=dataclasses.replace(search.bo, step=0.31))
    monkeypatch.setattr(run_key_module, "_parsed", lambda settings: changed)
    keys.add(run_key(cell))
    monkeypatch.undo()
    assert len(keys) == 7
    rival = next(cell for cell in grid.cells() if cell.contender.kind == "rival")
    pools = {name: dataclasses.replace(pool, fit={}) for name, pool in rival.where.pools.items()}
    assert run_key(dataclasses.replace(rival, where=dataclasses.replace(rival.where, pools=pools))) == run_key(rival)


def test_a_rival_makes_no_pool_that_it_does_not_read():
    grid = load_few_episodes(conf_dir() / "sweep" / "few_episodes.yaml")
    for cell in grid.cells():
        fit = cell.fit("logs")
        assert cell.reads_pool == (cell.contender.kind in ("ours", "part"))
        assert cell.reads_pool or (fit.name == "rivals-seed0" and fit.settings["data.recipe"] == "random")


def test_doing_nothing_is_measured_as_gymnasium_would():
    grid = load_few_episodes(conf_dir() / "sweep" / "few_episodes.yaml")
    grid = dataclasses.replace(grid, finetune={**grid.finetune, "answer_episodes": 3})
    found = few_command.still_returns(grid, {("reacher", "speed"), ("mountaincar", "standard")})
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


@pytest.mark.slow
def test_every_published_row_is_of_a_run_that_a_shipped_study_asks_for():
    """By its key: a change of what names a run would repeat days of computing, and leave pages without their rows."""
    asked = set()
    for study in ("few_episodes", "reuse", "pretraining"):
        asked |= {run_key(cell) for cell in load_few_episodes(conf_dir() / "sweep" / f"{study}.yaml").cells()}
    lost = [row for row in all_shipped() if row.key not in asked]
    assert not lost, f"{len(lost)} rows, such as {lost[0]}"
