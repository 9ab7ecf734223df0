"""The report command: its files, its words, its figures, and its refusals."""

import csv
import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from lightning_pz.common.errors import UserError
from lightning_pz.common.plotting import LOOKS, look
from lightning_pz.comparison.analysis import analyze
from lightning_pz.comparison.figures import contender_places, learning_curves
from lightning_pz.comparison.labels import ALGORITHM_LABELS, search_label
from lightning_pz.comparison.search_runs import find_runs, group_runs
from lightning_pz.report import main
from lightning_pz.search.settings import ALGORITHMS, SearchSettings, SpaceName


@pytest.fixture
def runs(tmp_path, rng, write_run, rising):
    """Three algorithms with five seeds on two tasks, the last one on half the budget; two runs are not finished."""
    for task, level in (("standard", 10), ("left", 20)):
        for seed in range(5):
            write_run(tmp_path, "pgpe", seed, *rising(rng, level), task=task)
            write_run(tmp_path, "ppo", seed, *rising(rng, level / 2), task=task)
            write_run(tmp_path, "sac", seed, *rising(rng, level / 4, 500), task=task, budget=500)
    write_run(tmp_path, "pgpe", 7, finished=False)
    write_run(tmp_path, "ppo", 7, finished=False)
    return tmp_path / "finetune" / "mountaincar"


@pytest.fixture
def few(tmp_path, rng, write_run, rising):
    """Two algorithms with four seeds on one task."""
    for seed in range(4):
        write_run(tmp_path, "pgpe", seed, *rising(rng, 10))
        write_run(tmp_path, "ppo", seed, *rising(rng, 5))
    return tmp_path / "finetune" / "mountaincar"


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_report(runs, tmp_path, capsys, monkeypatch, write_evaluation):
    monkeypatch.chdir(tmp_path)
    write_evaluation(tmp_path, best=12.0, pool=[[0.0], [1.0], [2.0]])
    main([str(runs), "--draws", "300"])
    printed = capsys.readouterr().out
    lines = printed.rstrip().splitlines()
    assert lines[-1] == "report/mountaincar"
    assert lines[-3].startswith("  next: ")
    table = list(itertools.takewhile(str.strip, lines[1:]))
    assert len(table) == 2 + 2 * 3
    assert max(map(len, table)) <= 110
    assert "100 policies" in printed
    assert printed.count("left out: ") == 2
    assert "unfinished" in printed
    folder = tmp_path / "report" / "mountaincar"
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    figures = ["overview", "mountaincar-standard", "mountaincar-left"]
    drawn = {f"figures/{name}.{kind}" for name, kind in itertools.product(figures, ("png", "pdf"))}
    assert found == {"report.md", "cells.csv", "runs.csv", "wins.csv"} | drawn
    for name in drawn:
        start = (folder / name).read_bytes()[:8]
        assert start.startswith(b"%PDF" if name.endswith("pdf") else b"\x89PNG")
    text = (folder / "report.md").read_text()
    assert "ppo-medium-k2-seed0-seed7" in text
    assert "| mountaincar/left | 1,000 | latent PGPE | " in text

    wins = rows_of(folder / "wins.csv")
    assert [(w["task"], w["horizon"], w["leader"], w["runner_up"], w["verdict"]) for w in wins[:2]] == [
        ("left", "1000", "latent PGPE", "PPO (defaults)", "win"),
        ("standard", "1000", "latent PGPE", "PPO (defaults)", "win"),
    ]
    assert [w["horizon"] for w in wins[2:]] == ["500", "500"]
    each = rows_of(folder / "runs.csv")
    assert len(each) == 30
    standard = [row for row in rows_of(folder / "cells.csv") if row["task"] == "standard"]
    assert [(row["algorithm"], row["horizon"]) for row in standard] == [
        ("pgpe", "500"), ("pgpe", "1000"), ("ppo", "500"), ("ppo", "1000"), ("sac", "500"),
    ]  # fmt: skip
    # Within half the budget pgpe does not come to 75 % either, though it does later.
    assert [(row["steps_to_75"] == "", int(row["reached_75"]) < 3) for row in standard[:2]] == [
        (True,) * 2,
        (False,) * 2,
    ]
    # sac never comes near: no number stands for that, in any file.
    assert (standard[-1]["steps_to_95"], standard[-1]["reached_95"]) == ("", "0")
    assert {row["steps_to_95"] for row in each if row["algorithm"] == "sac"} == {""}
    for row in standard:
        assert float(row["area_low"]) <= float(row["area"]) <= float(row["area_high"])


def test_same_seed_same_report(few, tmp_path):
    for name in ("one", "two"):
        main([str(few), "--draws", "200", "--out", str(tmp_path / name)])
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert len(files) == 8
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


def test_reading_changes_no_run(few, tmp_path):
    def state():
        return {path: path.stat().st_mtime_ns for path in few.rglob("*")}

    before = state()
    main([str(few), "--draws", "100", "--out", str(tmp_path / "out")])
    assert state() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "there is none at nowhere"),
        (["RUNS", "--draws", "10"], "--draws expects at least 100"),
        (["RUNS", "--seed", "-1"], "--seed expects a seed from 0"),
        (["RUNS", "--evaluation", "nothing.json"], "--evaluation expects a summary.json"),
        (["RUNS", "--out", "FILE"], "--out expects a folder"),
    ],
)
def test_refusals(few, tmp_path, arguments, words):
    (tmp_path / "file").touch()
    given = [{"RUNS": str(few), "FILE": str(tmp_path / "file")}.get(word, word) for word in arguments]
    with pytest.raises(UserError, match=words):
        main(given)
    assert not (tmp_path / "report").exists()


def test_refusal_is_a_sentence_and_exit_code_2(tmp_path):
    command = [sys.executable, "-m", "lightning_pz.report", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: expected finished runs")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "settings, label",
    [
        ({"space": None}, "TD3 (defaults)"),
        ({"space": "widened", "start": "pool_top"}, "widened latent TD3 from the pool's best"),
        ({"space": "weights", "replay": 0.0}, "weight TD3, no old data"),
        (
            {"space": "weights", "start": "pool_best", "replay": 1.0},
            "weight TD3 from the pool's record holder, old data alone",
        ),
        ({"space": "own"}, "TD3 (defaults), 50% old data"),
        ({"space": "own", "hyperparameters": "zoo", "replay": 0.25}, "TD3 (RL Zoo), 25% old data"),
    ],
)
def test_a_learner_through_the_decoder_has_a_name_of_its_own(settings, label):
    assert search_label(SearchSettings(algorithm="td3", **settings)) == label


def test_every_space_has_a_name_of_its_own():
    spaces = [None, *get_args(SpaceName)]
    assert len({search_label(SearchSettings(algorithm="sac", space=space)) for space in spaces}) == len(spaces)


def test_every_algorithm_has_a_look_of_its_own():
    assert tuple(ALGORITHM_LABELS) == ALGORITHMS
    assert len({str(look(place)) for place in range(len(ALGORITHMS))}) == len(ALGORITHMS)
    colors, lines, markers = zip(*LOOKS[:9], strict=True)
    assert len(set(colors)) == len(set(map(str, lines))) == len(set(markers)) == 9
    # Also where others are missing.
    places = [contender_places(names) for names in (["SAC (defaults)"], ["x", "SAC (defaults)", "y", "latent PGPE"])]
    assert places == [{"SAC (defaults)": 7}, {"SAC (defaults)": 7, "latent PGPE": 0, "x": 1, "y": 2}]


def test_curves_stay_in_sight_when_one_begins_far_below(tmp_path, rng, write_run, rising):
    for seed in range(4):
        steps, returns = rising(rng, 10)
        write_run(tmp_path, "pgpe", seed, steps, returns)
        write_run(tmp_path, "ppo", seed, steps, [-1000.0, *returns[1:]])
    (task,) = analyze(group_runs(find_runs([tmp_path]).runs), {})
    figure = learning_curves(task, contender_places(["latent PGPE", "PPO (defaults)"]))
    (axes,) = figure.axes
    bottom, top = axes.get_ylim()
    assert -20 < bottom < 3
    assert 10 < top < 20
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["latent PGPE (4)", "PPO (defaults) (4)"]
    assert "continue below" in figure.legends[0].get_title().get_text()


@pytest.mark.draws
def test_a_run_that_was_first_measured_beyond_its_budget_is_drawn(tmp_path, capsys, write_run):
    folders = write_run(tmp_path), write_run(tmp_path, "ppo", steps=[1100], returns=[3.0])
    main([*map(str, folders), "--draws", "100"])
    folder = Path(capsys.readouterr().out.rstrip().splitlines()[-1])
    assert (folder / "figures" / "mountaincar-standard.png").stat().st_size > 5000


def test_a_report_of_other_runs_does_not_take_the_place_of_an_earlier_one(tmp_path, capsys, write_run):
    def go(*folders):
        main([*map(str, folders), "--draws", "100"])
        return Path(capsys.readouterr().out.rstrip().splitlines()[-1])

    one, other = write_run(tmp_path), write_run(tmp_path, "ppo")
    first = go(one)
    content = (first / "cells.csv").read_bytes()
    second = go(other)
    assert second == first.with_name("mountaincar-002") and (first / "cells.csv").read_bytes() == content
    # More runs bring the first one up to date.
    assert go(one, other) == first and len(rows_of(first / "runs.csv")) == 2


def test_tasks_that_a_slug_gives_one_name_have_a_figure_each(tmp_path, capsys, write_run):
    for task in ("mine:f", "mine:F", "mine-f:f"):
        write_run(tmp_path, task=task)
    main([str(tmp_path / "finetune"), "--draws", "100"])
    folder = Path(capsys.readouterr().out.rstrip().splitlines()[-1])
    assert len(list((folder / "figures").glob("*.png"))) == 3 + 1
