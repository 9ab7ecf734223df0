"""Whole studies: two processes at once, kills, pruning, confirmation, searches in the latent space, bad input."""

import csv
import json
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import optuna
import pytest
import yaml

from lightning_pz.autoencoder.module import BehaviorAutoencoder
from lightning_pz.common.errors import UserError
from sweeps.__main__ import main
from sweeps.fits import Fit
from tests.sweeps.conftest import TINY, settings, start


def read(logs, name="latent_dim-mountaincar"):
    with (logs / "sweeps" / name / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def run(study, grid, logs, *more):
    main([study, "--env", "mountaincar", "--grid", grid, "--logs", str(logs), "--workers", "1", *more])


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Run the grid in one process; returns its logs."""
    logs, grid = tmp_path_factory.mktemp("logs"), tmp_path_factory.mktemp("grid") / "grid.yaml"
    grid.write_text(yaml.safe_dump({"default": settings()}))
    run("latent_dim", str(grid), logs)
    return logs


@pytest.mark.slow
def test_tables_tell_settings_values_and_runs(done):
    rows = read(done)
    assert list(rows[0])[:7] == ["number", "state", "value", "seed", "run", "policy", "model.latent_dim"]
    assert [(row["state"], row["policy"], row["model.latent_dim"], row["seed"]) for row in rows] == [
        ("COMPLETE", "small", k, seed) for seed in "01" for k in "12"
    ]
    for row in rows:
        summary = json.loads((Path(row["run"]) / "summary.json").read_text())
        assert float(row["value"]) == float(row["test_fvu"]) == summary["test_fvu"]
        assert (summary["latent_dim"], summary["seed"]) == (int(row["model.latent_dim"]), int(row["seed"]))
        assert Path(row["checkpoint"]).is_file() and Path(row["config"]).is_file()
        with np.load(Path(row["run"]) / "policy_errors.npz") as errors:
            assert errors["error"].sum() / errors["spread"].sum() == pytest.approx(summary["test_fvu"], rel=1e-6)
    text = (done / "sweeps" / "latent_dim-mountaincar" / "trials.md").read_text()
    means = [np.mean([float(row["value"]) for row in rows if row["model.latent_dim"] == k]) for k in "12"]
    for k, mean in zip("12", means, strict=True):
        assert f"| small | {k} | 2 | {mean:.4f} |" in text


@pytest.mark.slow
def test_two_processes_share_a_study_and_a_killed_one_loses_its_own_trial_at_most(done, tmp_path, write_grid):
    """The command typed twice, and one of the two killed: no trial done twice, values as of one process."""
    words = ["latent_dim", "--env", "mountaincar", "--grid", write_grid(), "--logs", tmp_path, "--workers", "1"]
    with start(*words) as one, start(*words) as other:
        first = [one.stdout.readline(), one.stdout.readline()]
        one.send_signal(signal.SIGKILL)
        assert other.wait(300) == 0, other.stderr.read()
        said = "".join(first) + one.stdout.read() + other.stdout.read()
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("summary.json")}
    main([str(word) for word in words])
    assert kept.items() <= {path: path.stat().st_mtime_ns for path in tmp_path.rglob("summary.json")}.items()
    numbers = [line.split(":")[0] for line in said.splitlines() if line.startswith("trial ")]
    assert len(numbers) == len(set(numbers)) >= 3  # all four, or all but the killed one's
    assert [row["value"] for row in read(tmp_path)] == [row["value"] for row in read(done)]


@pytest.mark.slow
def test_finished_trials_stay_and_a_grid_may_grow(done, tmp_path, write_grid):
    logs = tmp_path / "logs"
    shutil.copytree(done, logs)
    before = {path: path.stat().st_mtime_ns for path in logs.rglob("summary.json")}
    run("latent_dim", write_grid(), logs)
    assert {path: path.stat().st_mtime_ns for path in logs.rglob("summary.json")} == before
    run("latent_dim", write_grid("more.yaml", search={"model.latent_dim": [1, 2, 3]}), logs, "--trials", "3")
    assert [row["model.latent_dim"] for row in read(logs)] == ["1", "2", "1", "2", "3"]


@pytest.mark.slow
def test_an_interrupted_study_keeps_results_and_goes_on_to_the_same_end(done, tmp_path, write_grid, monkeypatch):
    straight, grid, steps = BehaviorAutoencoder.training_step, write_grid(seeds=[0]), []

    def interrupted(self, batch, batch_idx):
        steps.append(0)
        if len(steps) == 18:  # in the second trial, behind its first validation
            raise KeyboardInterrupt
        return straight(self, batch, batch_idx)

    monkeypatch.setattr(BehaviorAutoencoder, "training_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run("latent_dim", grid, tmp_path)
    monkeypatch.undo()
    rows = read(tmp_path)
    assert [row["state"] for row in rows] == ["COMPLETE", "WAITING"]
    run("latent_dim", grid, tmp_path)
    assert [row["value"] for row in read(tmp_path)] == [row["value"] for row in read(done)][:2]


@pytest.mark.slow
def test_an_interrupted_leader_stops_its_workers(tmp_path, write_grid):
    slow = dict(TINY) | {"trainer.max_steps": 200_000, "early_stopping.patience": 100_000}
    grid = write_grid(fit=slow)
    words = ["latent_dim", "--env", "mountaincar", "--grid", grid, "--logs", tmp_path, "--workers", "2"]
    with start(*words) as leader:
        deadline = time.monotonic() + 120
        while len(list(tmp_path.rglob("last.ckpt"))) < 2:
            assert leader.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        leader.send_signal(signal.SIGTERM)  # heard even where SIGINT is ignored, as in background jobs
        assert leader.wait(300) == 130
    assert [(row["state"], row.get("reason")) for row in read(tmp_path)] == [("WAITING", "")] * 4


class Decisive(optuna.pruners.BasePruner):
    def prune(self, study, trial):
        return trial.last_step == 15


def test_a_pruned_trial_is_really_stopped(tmp_path, write_grid, monkeypatch):
    monkeypatch.setattr("sweeps.optuna_study.command.make_pruner", lambda plan: Decisive())
    grid = write_grid(fit=dict(TINY) | {"trainer.max_steps": 40}, seeds=[0], search={"model.latent_dim": [1]})
    steps, straight = [], BehaviorAutoencoder.training_step
    monkeypatch.setattr(BehaviorAutoencoder, "training_step", lambda *a: steps.append(0) or straight(*a))
    run("latent_dim", grid, tmp_path)
    (row,) = read(tmp_path)
    assert row["state"] == "PRUNED" and "at step 15" in row["reason"] and len(steps) == 15
    assert not list(tmp_path.rglob("summary.json"))


SEARCH = {
    "sampler": "tpe", "metric": "val_fvu", "trials": 8, "seeds": [0], "fit": {**TINY, "model.latent_dim": 2},
    "search": {"model.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}},
    "confirm": {"best": 2, "seeds": [10, 11, 12, 13, 14, 15]},
}  # fmt: skip


def fake_fit(self, callbacks=(), *, quiet=False):
    """Stand in for training: FVU is least at a learning rate of 0.01, and the default is far worse on every seed."""
    rate, seed = self.settings.get("model.learning_rate"), self.settings["seed_everything"]
    value = 9.0 if rate is None else abs(np.log10(rate) + 2)
    summary = dict.fromkeys(("train_fvu", "pca_fvu", "steps", "fit_seconds"), 0.0)
    self.folder.mkdir(parents=True, exist_ok=True)
    return summary | {"val_fvu": value, "test_fvu": value + 0.001 * seed}


def confirmed(logs):
    """Return the cells of confirm.md, row by row."""
    table = (logs / "sweeps" / "autoencoder-mountaincar" / "confirm.md").read_text().splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_a_search_confirms_its_best_on_fresh_seeds(tmp_path, write_grid, monkeypatch):
    monkeypatch.setattr(Fit, "run", fake_fit)
    run("autoencoder", write_grid(**SEARCH), tmp_path)
    rows = read(tmp_path, "autoencoder-mountaincar")
    assert len(rows) == 8 and len({row["model.learning_rate"] for row in rows}) == 8
    best = sorted(float(row["value"]) for row in rows)[:2]
    cells = confirmed(tmp_path)
    assert cells[0][:3] == ["default", "COMPLETE", "9.0125"]
    means = [float(line[2]) for line in cells[1:]]
    assert means[0] == pytest.approx(best[0] + 0.0125, abs=1e-4)
    assert float(cells[1][-3]) == pytest.approx(means[0] - 9.0125, abs=1e-4)
    assert cells[1][-2] == "0.031"  # the least that six pairs can give: 2 / 2^6
    # The second best is worse seed by seed: the signed-rank test stops it before the last seed.
    assert cells[2][1] == "PRUNED" and cells[2][8] == ""
    again = fake_fit
    monkeypatch.setattr(Fit, "run", lambda *a, **b: pytest.fail("done before") and again)
    run("autoencoder", write_grid(**SEARCH), tmp_path)


def test_a_search_that_goes_on_confirms_its_new_best_and_keeps_what_is_confirmed(tmp_path, write_grid, monkeypatch):
    names = []
    monkeypatch.setattr(Fit, "run", lambda self, *a, **b: names.append(self.name) or fake_fit(self))
    run("autoencoder", write_grid(**SEARCH), tmp_path)
    journal = tmp_path / "sweeps" / "autoencoder-mountaincar" / "journal.log"
    before, text = confirmed(tmp_path), journal.read_text()
    # As earlier versions wrote it, which numbered candidates by their place.
    numbers = list(dict.fromkeys(re.findall(r'"candidate":(\d{4,})', text)))
    assert len(numbers) == 3
    for place, number in enumerate(numbers):
        text = text.replace(f'"candidate":{number}', f'"candidate":{place}')
    journal.write_text(text)
    run("autoencoder", write_grid(**SEARCH), tmp_path)
    assert confirmed(tmp_path) == before and len(names) == len(set(names))
    run("autoencoder", write_grid(**SEARCH), tmp_path, "--trials", "40")
    rows = read(tmp_path, "autoencoder-mountaincar")
    best = [f"trial {row['number']}" for row in sorted(rows, key=lambda row: float(row["value"]))[:2]]
    found = {row[0]: row[1:] for row in confirmed(tmp_path)}
    assert set(best) < set(found) and not set(best) & {row[0] for row in before} and len(found) == 5
    assert float(found[best[0]][1]) == min(float(row[1]) for row in found.values())
    for name, *cells in before:
        assert found["default" if name == "default" else f"{name}, no longer among the best"] == cells
    assert len(names) == len(set(names))


def test_a_fit_of_other_settings_is_no_result_of_a_new_search(tmp_path, write_grid):
    """With the study's folder moved away, as a changed study advises, the sampler proposes the very names of before."""
    fit, plan = SEARCH["fit"], {**SEARCH, "trials": 1, "confirm": None}
    run("autoencoder", write_grid(**plan), tmp_path)
    folder = tmp_path / "sweeps" / "autoencoder-mountaincar"
    folder.rename(tmp_path / "before")
    changed = write_grid(**plan | {"fit": {**fit, "model.weight_decay": 0.5}})
    for _ in range(2):  # nor is the refusal an end of the trial
        with pytest.raises(UserError, match=r"a run of other settings .*weight_decay is .*, not 0.5; move that folder"):
            run("autoencoder", changed, tmp_path)
        (row,) = read(tmp_path, folder.name)
        assert (row["state"], row["value"], row["reason"]) == ("WAITING", "", "")
    old = Path(row["run"])
    before = json.loads((old.rename(tmp_path / "old") / "summary.json").read_text())["val_fvu"]
    run("autoencoder", changed, tmp_path)
    (row,) = read(tmp_path, folder.name)
    assert (row["state"], Path(row["run"])) == ("COMPLETE", old) and float(row["value"]) != before


@pytest.mark.slow
def test_latent_size_against_return(tmp_path, write_grid):
    search = {"task": "left", "budget": 3000, "seeds": 2, "starts": 1, "test_episodes": 2, "evaluation_episodes": 2}
    search |= {"pgpe.population": 2}
    run("finetune", write_grid(search={"model.latent_dim": [1]}, seeds=[0], finetune=search), tmp_path)
    (row,) = read(tmp_path, "finetune-mountaincar")
    found = [json.loads(path.read_text())["left/return"] for path in sorted(tmp_path.glob("finetune/**/summary.json"))]
    assert len(found) == 2 and float(row["value"]) == pytest.approx(np.mean(found))
    assert [float(value) for value in row["returns"].split()] == pytest.approx(found, rel=1e-5)


def test_failed_trials_are_told_and_the_others_go_on(tmp_path, write_grid, monkeypatch, capsys):
    def fails(self, callbacks=(), *, quiet=False):
        if self.settings["model.latent_dim"] == 1:
            raise UserError("the training loss became nan")
        return fake_fit(self)

    monkeypatch.setattr(Fit, "run", fails)
    run("latent_dim", write_grid(), tmp_path)
    assert [row["state"] for row in read(tmp_path)] == ["FAIL", "COMPLETE"] * 2
    assert "trial 0 failed: the training loss became nan" in capsys.readouterr().err


def test_copies_of_the_worker_on_an_engine_leave_the_same_table(tmp_path, write_grid, monkeypatch, backwards):
    monkeypatch.setattr(Fit, "run", fake_search_fit)
    run("latent_dim", write_grid(), tmp_path / "one")
    words = ["--env", "mountaincar", "--grid", write_grid(), "--logs", str(tmp_path / "two")]
    main(["latent_dim", *words, "--on", "dask", "--workers", "2"])
    without = ("run", "config", "checkpoint")
    plain = [
        [{key: value for key, value in row.items() if key not in without} for row in read(tmp_path / name)]
        for name in ("one", "two")
    ]
    assert plain[0] == plain[1] and backwards.count == 2 and len(plain[0]) == 4


def fake_search_fit(self, callbacks=(), *, quiet=False):
    return fake_fit(self) | {"test_fvu": float(self.settings["model.latent_dim"]), "seconds": 0.0}


@pytest.mark.parametrize(
    "changes, words, sentence",
    [
        ({"fit": {"model.latent_dimm": 3}}, [], r"grid.yaml: .*latent_dimm"),
        ({"search": {"model.latent_dim": [1, 0]}}, [], r"grid.yaml: --model.latent_dim expects at least 1, but got 0"),
        ({"policies": {"wide": {}}}, [], r"policy 'wide' is none of large, medium, small"),
        ({"finetune": {"task": "lft"}}, [], "Did you mean 'left'"),
        ({"finetune": {"budgett": 3}}, [], "grid.yaml: finetune: .*budgett"),
        ({"finetune": {"task": "left", "seeds": 0}}, [], "grid.yaml: finetune: --seeds expects at least 1"),
        ({"finetune": {"task": "left,height"}}, [], "expects one task"),
        ({"metric": "test_fvu_k2"}, [], "metric 'test_fvu_k2' is of a nested fit, but .* is not nested"),
        ({"metric": "test_fvu_k3", "search": {"model.latent_dim": [2]}, "fit": {**TINY, "model.bottleneck": "nested"}}, [], "metric expects test_fvu_k of one of 1, 2, but got 'test_fvu_k3'"),
        ({"fit": {"run_name": "mine"}}, [], "fit cannot have 'run_name'"),
        ({"search": {"model.latent_dimm": [1]}}, [], "grid.yaml: .*latent_dimm"),
        ({}, ["--trials", "-1"], "--trials expects at least 1"),
        ({"sampler": "tpe", "search": {"model.dropout": {"low": 0.0, "high": 0.1}}, "confirm": {"best": 1, "seeds": [0]}}, [],
         r"\[0\] are in both"),
        ({}, ["--workers", "0"], "--workers expects at least 1"),
        ({}, ["--steps", "3"], "there is no option --steps"),
        ({}, ["--storage", "nonsense"], "URL of a database"),
    ],
)  # fmt: skip
def test_bad_input_is_told_before_the_first_trial(changes, words, sentence, tmp_path, write_grid):
    logs = tmp_path / "logs"
    with pytest.raises(UserError, match=sentence):
        run("latent_dim", write_grid(**changes), logs, *words)
    assert not list(logs.rglob("fit")) and not list(logs.rglob("trials.csv"))


def test_an_environment_is_needed(tmp_path, write_grid):
    with pytest.raises(UserError, match="which environment"):
        main(["latent_dim", "--grid", write_grid()])
    with pytest.raises(UserError, match=r"none at nowhere\.yaml"):
        main(["latent_dim", "--env", "hopper", "--grid", "nowhere.yaml"])
