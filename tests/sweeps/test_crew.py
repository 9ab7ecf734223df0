"""Cells of studies on workers: the same tables in whatever order they end, errors that stop no other cell, and stops."""

import csv
import os
import time
from pathlib import Path

import pytest
import yaml

from lightning_pz.common.errors import UserError
from sweeps.__main__ import main
from sweeps.crew import open_crew
from sweeps.options import EngineOptions
from tests.sweeps.conftest import TINY

FIT = {**TINY, "model.latent_dim": 1, "data.recipe": "random", "data.random.seed": "{seed}"}
EVALUATE = {"policies": 6, "episodes": 1, "draws": 10, "fresh_episodes": 2}
SEARCH = {"budget": 4000, "starts": 1, "evaluation_episodes": 2, "test_episodes": 2, "pgpe.population": 2}
GRIDS = {
    "few_episodes": {
        "environments": {
            "mountaincar": {
                "policy": "small", "tasks": ["left"], "pools": {"random": {"run": "tiny", "seeds": 2, "fit": FIT}},
            },
        },
        "decisive": [1],
        "finetune": {**SEARCH, "episodes": 2, "answers_at": [0, 1], "answer_episodes": 2, "evaluate_every": 4000},
        "contenders": {
            "latents": {
                "kind": "ours", "pool": "random", "finetune": {"algorithm": "pgpe"},
                "parts": [{"env": "mountaincar", "seeds": 2}],
            },
        },
    },
    "compare": {
        "environments": {
            "mountaincar": {
                "run": "tiny", "policy": "small", "tasks": ["left"], "fit": {**FIT, "data.random.seed": 0},
                "evaluate": EVALUATE,
            },
        },
        "algorithms": {"pgpe": {"seeds": 2}, "random_latent": {"random_latent.population": 2}},
        "finetune": {**SEARCH, "workers": 1},
    },
}  # fmt: skip
TABLES = {"few_episodes": "runs.csv", "compare": "cells.csv"}


def run(study, folder, name, *more):
    """Run a study in a folder of its own; return its table without what the clock says."""
    (folder / name).mkdir()
    os.chdir(folder / name)  # the same relative paths
    Path("grid.yaml").write_text(yaml.safe_dump(GRIDS[study]))
    main([study, "--grid", "grid.yaml", *more])
    (path,) = Path("logs/sweeps").glob(f"{study}-*/{TABLES[study]}")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{key: value for key, value in row.items() if "seconds" not in key} for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("study", GRIDS)
def test_tables_depend_neither_on_workers_nor_on_the_order_of_cells(study, tmp_path, monkeypatch, backwards):
    monkeypatch.chdir(tmp_path)
    straight = run(study, tmp_path, "straight", "--workers", "1")
    assert len(straight) >= 2 and backwards.count == 0
    assert run(study, tmp_path, "spread", "--workers", "2") == straight
    assert backwards.count == {"few_episodes": 2 + 2, "compare": 1 + 3}[study]


def square(number):
    if number == 2:
        raise UserError("two is none of ours")
    return number * number


def wait_for_long(begun):
    if begun is not None:
        begun.touch()
        for _ in range(600):
            time.sleep(0.1)


def options(workers=2):
    return EngineOptions(workers=workers)


def test_the_error_of_a_piece_is_raised_when_all_others_are_done(tmp_path, backwards):
    made = {}
    told = pytest.raises(UserError, match=r"1 of 4 pieces of work .* does them again: two is none of ours")
    with told, open_crew(options(), str(tmp_path)) as crew:
        for number, value in crew.run(square, [0, 1, 2, 3]):
            made[number] = value
    assert made == {0: 0, 1: 1, 3: 9}
    assert not list((tmp_path / "sweeps").iterdir())


def test_here_it_is_raised_at_once(tmp_path):
    made = []
    told = pytest.raises(UserError, match=r"^two is none of ours$")
    with told, open_crew(options(1), str(tmp_path)) as crew:
        made.extend(value for _, value in crew.run(square, [1, 2, 3]))
    assert made == [1]


def test_ctrl_c_ends_the_pieces_under_way(tmp_path, backwards):
    begun, backwards.tells_early = tmp_path / "begun", True
    with pytest.raises(KeyboardInterrupt), open_crew(options(), str(tmp_path)) as crew:
        for _ in crew.run(wait_for_long, [begun, None]):  # the last one ends first
            while not begun.exists():
                time.sleep(0.05)
            raise KeyboardInterrupt
    backwards.thread.join(30)
    assert not backwards.thread.is_alive()
