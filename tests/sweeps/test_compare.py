"""The comparison study on a tiny grid: whole, resumed without repeating anything, and refused where it makes no sense."""

import csv
from pathlib import Path

import pytest
import yaml

from lightning_pz.common.errors import UserError
from lightning_pz.envs.presets import conf_dir
from lightning_pz.jobs.finetune_settings import JobSettings
from lightning_pz.search.settings import ALGORITHMS, SearchSettings
from sweeps.__main__ import main
from sweeps.compare import load_comparison
from tests.sweeps.conftest import TINY

FIT = {**TINY, "model.latent_dim": 2}
GRID = {
    "environments": {
        "mountaincar": {
            "run": "tiny", "policy": "small", "tasks": ["left"], "fit": FIT,
            "evaluate": {"policies": 6, "episodes": 1, "draws": 10}, "algorithms": {"pgpe": {"budget": 9000}},
        },
        "Pendulum-v1": {
            "run": "tiny", "policy": "small", "fit": FIT, "evaluate": {"policies": 6, "episodes": 1, "draws": 10},
            "algorithms": {"random_latent": {"budget": 1600}, "pgpe": {"seeds": 0}},
        },
    },
    "finetune": {
        "budget": 6000, "workers": 1, "starts": 1, "evaluation_episodes": 2, "test_episodes": 2,
        "pgpe.population": 2, "random_latent.population": 2,
    },
    "algorithms": {"random_latent": {"seeds": 2}, "pgpe": {}},
}  # fmt: skip


def write(path, grid):
    path.write_text(yaml.safe_dump(grid))
    return str(path)


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    arguments = ["compare", "--grid", write(folder / "grid.yaml", GRID), "--logs", str(folder / "logs")]
    main(arguments)
    return arguments


def report(logs):
    """Return the folder of the whole comparison; another grid than the shipped one has its own."""
    (folder,) = (path for path in (logs / "sweeps").glob("compare-*") if "pgpe" not in path.name)
    return folder


def rows(logs):
    with (report(logs) / "cells.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_whole_then_again_without_repeating(command, tmp_path_factory, capsys):
    logs = Path(command[-1])
    first = {
        row["algorithm"]: row for row in rows(logs) if row["env"] == "mountaincar" and row["horizon"] == row["budget"]
    }
    assert set(first) == {"random_latent", "pgpe"}
    assert first["random_latent"]["seeds"] == "2" and int(first["pgpe"]["budget"]) == 9000
    stamps = {path: path.stat().st_mtime_ns for path in logs.rglob("summary.json")}
    assert len(stamps) == 2 * (1 + 1 + 2) + 1  # fit, evaluation, two seeds; one of pgpe
    next((logs / "finetune" / "mountaincar").rglob("pgpe-*/summary.json")).unlink()  # as if it had been killed there
    main(command)
    after = {path: path.stat().st_mtime_ns for path in logs.rglob("summary.json")}
    assert after.keys() == stamps.keys() and sum(after[path] != stamps[path] for path in stamps) == 1
    again = {
        row["algorithm"]: row for row in rows(logs) if row["env"] == "mountaincar" and row["horizon"] == row["budget"]
    }
    assert {k: v for k, v in first["pgpe"].items() if "seconds" not in k} == {
        k: v for k, v in again["pgpe"].items() if "seconds" not in k
    }
    whole = (report(logs) / "report.md").read_bytes()
    main([*command, "--env", "mountaincar", "--algorithm", "pgpe"])
    (part,) = (logs / "sweeps").glob("compare-mountaincar-pgpe-*/cells.csv")
    assert {row["algorithm"] for row in csv.DictReader(part.read_text().splitlines())} == {"pgpe"}
    assert (report(logs) / "report.md").read_bytes() == whole


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"algorithms": {"pgpee": {}}}, "Did you mean 'pgpe'"),
        ({"algorithms": {"random_latent": {"budget": 0}, "pgpe": {}}}, "--budget expects at least 1"),
        ({"enviroments": {}}, "a comparison has the keys environments.*Did you mean 'environments'"),
        ({"environments": {"mountaincar": {"run": "x", "tasks": ["lift"]}}}, "Did you mean 'left'"),
        ({"environments": {"mountaincar": {"rum": "x"}}}, "got 'rum'. Did you mean 'run'"),
        ({"environments": {"mountaincar": {"run": "../x"}}}, "--run expects a name for folders"),
        (
            {"environments": {"mountaincar": {"run": "x", "fit_seeds": -1}}},
            "fit_seeds expects a whole number of at least 0",
        ),
        ({"environments": {"mountaincar": {"run": "x", "tasks": "left"}}}, "tasks expects a list of words"),
        ({"environments": {"mountaincar": {"run": "x", "evaluate": {"polices": 3}}}}, "Did you mean 'policies'"),
        ({"environments": {"mountaincar": {"run": "x", "fit": {"model.latent_dm": 3}}}}, "latent_dm"),
        ({"environments": {}}, "'environments' expects at least one entry"),
        ({"environments": 3}, "environments expects a mapping"),
        ({"algorithms": {"random_latent": {}, "pgpe": {"seeds": "two"}}}, "seeds of pgpe on .* expects how many"),
        ({"algorithms": {"random_latent": {}, "pgpe": {"seeds": -2}}}, "seeds of pgpe on .* expects how many"),
        ({"at": [0]}, "at expects a whole number of at least 1"),
        ({"at": 100}, "at expects a list of whole numbers"),
        (
            {"environments": {"mountaincar": {"run": "x", "algorithms": {"sac": {}}}}},
            "expects one of pgpe, random_latent, but got 'sac'",
        ),
    ],
)
def test_a_bad_grid_is_told_before_anything_is_made(change, sentence, tmp_path):
    logs = tmp_path / "logs"
    with pytest.raises(UserError, match=sentence):
        main(["compare", "--grid", write(tmp_path / "grid.yaml", GRID | change), "--logs", str(logs)])
    assert not logs.exists()


def test_a_mistyped_key_of_a_search_is_told_before_anything_is_made(tmp_path):
    grid = GRID | {"algorithms": {"random_latent": {}, "pgpe": {"pgpe.populatoin": 4}}}
    with pytest.raises(UserError, match=r"grid.yaml: pgpe on .*: .*populatoin"):
        main(["compare", "--grid", write(tmp_path / "grid.yaml", grid), "--logs", str(tmp_path / "logs")])
    assert not (tmp_path / "logs").exists()


def test_a_part_without_a_search_is_refused_and_its_environment_needs_no_fit(tmp_path, monkeypatch, capsys):
    words = ["--grid", write(tmp_path / "grid.yaml", GRID), "--logs", str(tmp_path / "logs"), "--algorithm", "pgpe"]
    with pytest.raises(UserError, match=r"grid.yaml: .*`seeds: 0` leaves out pgpe on Pendulum-v1: name"):
        main(["compare", *words, "--env", "Pendulum-v1"])
    with pytest.raises(UserError, match=r"grown.yaml: .*leaves out ppo on hopper: name"):
        main(["grown", "--env", "hopper", "--algorithm", "ppo", "--logs", str(tmp_path / "logs")])
    assert not (tmp_path / "logs").exists()

    def stops(crew, wanted, tell):
        raise UserError(f"fits of {[fit.env for fit, _ in wanted]}")

    monkeypatch.setattr("sweeps.compare.run_fits", stops)
    for more in ([], ["--env", "Pendulum-v1", "mountaincar"]):
        with pytest.raises(UserError, match=r"fits of \['mountaincar'\]"):
            main(["compare", *words, *more])
    assert "no search on Pendulum-v1: " in capsys.readouterr().out


def test_a_missing_extra_is_told_first(tmp_path, monkeypatch):
    monkeypatch.setattr("lightning_pz.common.checks.is_installed", lambda module: False)
    with pytest.raises(UserError, match=r"lightning_pz\[baselines\]"):
        main(["compare", "--algorithm", "sac", "--logs", str(tmp_path / "logs")])


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--env", "hopper"], "--env expects one of mountaincar, reacher"),
        (["--algorithm", "sacc"], "Did you mean 'sac'"),
        (["--grid", "nowhere.yaml"], "none at nowhere.yaml"),
        (["--steps", "3"], "there is no option --steps"),
        (["--env"], "--env expects a value"),
    ],
)
def test_bad_input(arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        main(["compare", *arguments])


def test_the_shipped_comparison_has_every_algorithm_and_enough_seeds():
    from lightning_pz.finetune import parse

    whole = load_comparison(conf_dir() / "sweep" / "compare.yaml")
    of_few_episodes, of_choices = {"bo", "tqc", "crossq"}, {"dqn"}
    assert set(whole.algorithms) == set(ALGORITHMS) - of_few_episodes - of_choices
    assert set(whole.environments) == {"mountaincar", "reacher"}
    cells = whole.cells()
    assert len(cells) == len(set(cells)) == 9 * 2
    tasks = set()
    for algorithm, env in cells:
        (command,) = whole.commands(algorithm, env, "logs")
        jobs, search = parse(command)
        assert isinstance(jobs, JobSettings) and isinstance(search, SearchSettings)
        tasks |= {(env, task) for task in search.task.split(",")}
        assert jobs.seeds >= (2 if algorithm in ("sac", "td3", "ddpg") else 5)
    assert len(tasks) == 8
    part = load_comparison(conf_dir() / "sweep" / "compare.yaml", ["reacher"], ["pgpe", "ppo"])
    assert list(part.environments) == ["reacher"] and list(part.algorithms) == ["pgpe", "ppo"]
