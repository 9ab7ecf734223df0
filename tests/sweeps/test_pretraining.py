"""The study of pre-training: its tables from written rows, and once whole on tiny growths."""

import math
from types import SimpleNamespace

import drawing
import pytest
import yaml

from lightning_pz.common.errors import UserError
from lightning_pz.envs.presets import conf_dir
from lightning_pz.finetune import parse
from sweeps.__main__ import main
from sweeps.few_episodes import few_command, few_page, pretraining
from sweeps.few_episodes.few_grid import load_few_episodes
from sweeps.few_episodes.few_tables import collect_answers
from sweeps.few_episodes.ledger import RunRow, all_shipped, read_ledger
from sweeps.few_episodes.pretraining import BreakEven, GrownPool
from sweeps.few_episodes.run_key import run_key
from sweeps.fits import check_all
from sweeps.options import FewEpisodesOptions
from sweeps.results import publishing
from sweeps.results.pages import PageTable
from tests.sweeps.conftest import TINY

GROWN = {
    **{key: value for key, value in TINY.items() if not key.startswith("data.random")},
    "model.latent_dim": 2, "data.recipe": "grown", "data.grown.seed": "{seed}", "data.grown.first": 40, "data.grown.size": 60,
    "data.grown.directions": 2, "data.grown.population": 4, "data.grown.generations": 2, "data.grown.neighbors": 3,
    "data.grown.states": {"probe": 16, "train": 16, "val": 8, "test": 8, "episodes": 2},
}  # fmt: skip
GRID = {
    "environments": {
        "reacher": {
            "policy": "small", "tasks": ["speed"],
            "pools": {
                name: {"run": name, "seeds": 1, "fit": {**GROWN, "data.grown.steps": steps}}
                for name, steps in (("less", 5000), ("more", 9000))
            },
        },
    },
    "decisive": [0, 5],
    "finetune": {
        "budget": 600, "answers_at": [0, 5], "answer_episodes": 2, "evaluation_episodes": 2, "test_episodes": 2,
    },
    "contenders": {
        **{
            name: {
                "kind": "ours", "pool": name, "parts": [{"env": "reacher", "seeds": 2}],
                "finetune": {"algorithm": "pgpe", "start": "pool_best", "pgpe.population": 2, "episodes": 6},
            }
            for name in ("less", "more")
        },
        "PPO": {
            "kind": "rival", "pool": "more", "finetune": {"algorithm": "ppo", "hyperparameters": "zoo"},
            "parts": [{"env": "reacher", "seeds": 2}],
        },
    },
}  # fmt: skip


@pytest.mark.slow
def test_it_measures_what_pools_and_searches_cost(tmp_path, capsys, monkeypatch):
    path, logs = tmp_path / "grid.yaml", tmp_path / "logs"
    path.write_text(yaml.safe_dump(GRID))
    words = ["pretraining", "--grid", str(path), "--logs", str(logs)]
    main([*words, "--env", "reacher", "--contender", "less", "PPO"])
    main(words)
    said = capsys.readouterr().out
    (folder,) = (logs / "sweeps").glob("pretraining-*")
    rows = read_ledger(folder / "runs.csv")
    assert len(rows) == 6 and all(row.cpu_seconds > 0 for row in rows)
    for name in ("less", "more"):
        assert float((logs / "fit" / "reacher" / f"{name}-seed0" / "cpu_seconds").read_text()) > 0
        assert f"reacher, {name}: growth and autoencoder cost" in said
    assert all((folder / f"pretraining-{name}.md").is_file() for name in ("pools", "returns", "break-even"))
    before = (folder / "pretraining-break-even.csv").read_text()
    monkeypatch.setattr(publishing, "FOLDER", tmp_path)
    monkeypatch.setattr(few_page, "shipped", lambda study: tmp_path / f"{study}.csv")
    with drawing.all_drawn():
        main([*words, "--show", "true", "--publish", "true"])
    assert (folder / "pretraining-break-even.csv").read_text() == before
    assert read_ledger(tmp_path / "pretraining.csv") == rows
    page = PageTable.read(tmp_path / "tables" / "pretraining-returns.csv")
    assert {tuple(line[:4]) for line in page.table.rows} == {
        ("reacher", "speed", "less", "1"), ("reacher", "speed", "more", "1"), ("reacher", "speed", "PPO", "2"),
    }  # fmt: skip
    assert page.table.header[4:6] == ["0 episodes", "5 episodes"] and page.table.header[-1].startswith("600 steps")
    said = PageTable.read(tmp_path / "tables" / "pretraining-words.csv").sentences()
    assert said.startswith("* reacher, less: growth and autoencoder cost") and said.count("\n") == 2
    assert (tmp_path / "figures" / "pretraining.png").stat().st_size > 5000


def test_a_pool_has_paid_when_both_sums_are_equal():
    for once, each, rival in ((100.0, 5.0, 30.0), (100.0, 5.0, 25.0), (1.0, 5.0, 30.0), (99.0, 0.5, 1.5)):
        tasks = next(n for n in range(1, 1000) if once + n * each <= n * rival)
        assert BreakEven(once, each, rival, 1, 1).paid_after == tasks
    assert math.isinf(BreakEven(100.0, 30.0, 30.0, 1, 1).paid_after)
    never, soon = pretraining.break_even_sentences(
        {("e", "a", "R"): BreakEven(9.0, 3.0, 2.0, 0, 2), ("e", "b", "R"): BreakEven(1.0, 3.0, 20.0, 2, 2)}
    )
    assert (
        "the pool never pays" in never
        and "the pool has paid after 1 task; it returns more than the rival and than doing nothing on 2 of 2 tasks"
        in soon
    )
    text = pretraining.break_even_table({("e", "a", "R"): BreakEven(9.0, 3.0, 2.0, 0, 2)}).markdown()
    assert "0 of 2" in text and "none" in text


def row(task, name, seed, end, seconds):
    return RunRow(f"{task}{name}{seed}", "hopper", task, name, seed, 20, 900, 99.0, {0: 1.0, 20: end}, seconds)


def test_the_balance_is_of_the_tasks_that_both_ran():
    grid = load_few_episodes(conf_dir() / "sweep" / "pretraining.yaml")
    rows = [row(task, "2 million steps", seed, 50.0 + seed, 10.0) for task in ("jump", "forward") for seed in range(2)]
    rows += [
        row("jump", "SAC (RL Zoo), 100,000 steps", 0, 60.0, 300.0),
        row("jump", "SAC (RL Zoo), 100,000 steps", 1, 30.0, None),
    ]
    found = collect_answers(grid, rows, {(one.env, one.task): 0.0 for one in rows})
    pools = {("hopper", "2 million"): [GrownPool(2, 5.0, 0.1, 500.0), GrownPool(2, 7.0, 0.3, 700.0)]}
    assert pretraining.break_even(grid, found, pools) == {
        ("hopper", "2 million steps", "SAC (RL Zoo), 100,000 steps"): BreakEven(600.0, 10.0, 300.0, 1, 1)
    }
    idle = collect_answers(
        grid, rows, {(one.env, one.task): 55.0 for one in rows}
    )  # as of a flip: less than lying still
    assert next(iter(pretraining.break_even(grid, idle, pools).values())).above == 0
    assert pretraining.break_even(grid, found, {}) == {}  # where the cost of the pool is not known
    table = pretraining.pools_table(pools)
    ((_, _, seeds, _, coverage, fvu, seconds),) = table.rows
    assert (seeds, coverage.value, seconds) == (2, 6.0, 600.0) and fvu.value == pytest.approx(0.2)


def test_the_shipped_study_grows_1_to_10_million_steps(tmp_path):
    grid = load_few_episodes(conf_dir() / "sweep" / "pretraining.yaml")
    steps = {pool.fit["data.grown.steps"] for env in grid.environments.values() for pool in env.pools.values()}
    assert steps == {1_000_000, 2_000_000, 5_000_000, 10_000_000} and grid.decisive == [0, 5, 20]
    few_command._check(grid, "shipped")
    cells = list(grid.cells())
    check_all([cell.fit(str(tmp_path)) for cell in cells if cell.seed == 0], "shipped")
    ours, rivals, to_the_end = 2 * 4 * 4 * 5, 2 * (5 + 3 * 2 + 4 * 5), 2 * 3
    assert len({run_key(cell) for cell in cells}) == len(cells) == ours + rivals + to_the_end
    _, search = parse(cells[0].command("logs", "none.ckpt"))
    assert search.episodes == 20 and search.start == "pool_best"


def test_runs_of_another_study_count_by_the_names_of_this_one(tmp_path, monkeypatch):
    grid = load_few_episodes(conf_dir() / "sweep" / "pretraining.yaml")
    rows = [row for row in all_shipped() if row.contender == "SAC (RL Zoo)" and row.env == "halfcheetah"]
    options = FewEpisodesOptions(logs=str(tmp_path), show=True)
    monkeypatch.setattr(few_command, "all_shipped", lambda: rows)
    _, finished, _ = few_command.finish("pretraining", options)
    assert {row.contender for row in finished} <= {"SAC (RL Zoo), 20 episodes", "SAC (RL Zoo), 100,000 steps"}
    assert {(row.task, row.seed) for row in finished} >= {("forward", seed) for seed in range(5)}
    assert all(name in grid.contenders for name in {row.contender for row in finished})
    with pytest.raises(UserError, match="no search from a pool is finished yet"):
        pretraining.run("pretraining", options)


def test_a_mistake_is_told(tmp_path):
    with pytest.raises(UserError, match="--contender expects one of 1 million steps"):
        main(["pretraining", "--contender", "3 million steps", "--logs", str(tmp_path)])


def test_cpu_seconds_are_noted_only_of_what_this_sitting_made(tmp_path):
    pool = tmp_path / "pools" / "mine"
    fit = SimpleNamespace(folder=tmp_path / "fit", logs=str(tmp_path))

    def make(quiet):
        for folder in (pool, fit.folder):
            folder.mkdir(parents=True)
        return {"pool": str(pool)}

    fit.run = make
    few_command._make_fit(fit)
    assert float((fit.folder / "cpu_seconds").read_text()) >= 0
    fit.folder = tmp_path / "another"  # from the pool that was there
    fit.run = lambda quiet: (fit.folder.mkdir(), {"pool": str(pool)})[1]
    few_command._make_fit(fit)
    assert not (fit.folder / "cpu_seconds").exists()
