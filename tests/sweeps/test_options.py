"""Every study: its help, every option and every key of its file through the real command, and the shipped files."""

import dataclasses
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lightning_pz.common.errors import UserError
from lightning_pz.common.executors import SlurmSettings
from lightning_pz.envs.presets import conf_dir
from sweeps.__main__ import SEARCHES, STUDIES, main
from sweeps.compare import ComparedEnv, Comparison
from sweeps.fits import Fit
from sweeps.growth import Variant, Ways
from sweeps.options import SearchOptions, words_of
from sweeps.optuna_study.plan import Confirm, StudyPlan
from sweeps.recovery import RecoveryGrid
from tests.children import ROOT
from tests.sweeps.conftest import TINY, settings

HIDDEN = {"worker"}
"""What a command says to the processes that it starts; the tests of two processes run it."""
EVALUATE = {"policies": 6, "episodes": 1, "draws": 10, "fresh_episodes": 2}
RECOVERY = {
    "default": {
        "policies": {"small": {}}, "latent_dims": [1], "seeds": [0], "fit": {**TINY, "logger": "csv"}, "evaluate": EVALUATE,
    },
    "published": {"mountaincar": {"left": {"small": {1: 0.5}}}},
}  # fmt: skip
FIT = {**TINY, "model.latent_dim": 1}
GROWTH = {
    "default": {
        "policy": "small", "fit": FIT, "evaluate": EVALUATE, "tasks": ["left"],
        "variants": {"a way": {"run": "tiny", "seeds": 1, "fit": {"data.random.seed": "{seed}"}}},
    },
}  # fmt: skip
COMPARE = {
    "environments": {
        "mountaincar": {
            "run": "tiny", "fit_seeds": 1, "policy": "small", "tasks": ["left"], "fit": {**FIT, "data.random.seed": "{seed}"},
            "evaluate": EVALUATE, "algorithms": {"mine": {"budget": 4000}},
        },
    },
    "algorithms": {"mine": {"algorithm": "random_latent", "random_latent.population": 2}},
    "finetune": {"budget": 6000, "workers": 1, "starts": 1, "evaluation_episodes": 1, "test_episodes": 2},
    "at": [1000],
}  # fmt: skip
SEARCH = {
    "search": {"model.dropout": {"low": 0.0, "high": 0.2, "step": 0.1}}, "policies": {"small": {}}, "seeds": [0],
    "fit": FIT, "sampler": "tpe", "metric": "val_fvu", "trials": 3, "pruner": "median", "pruner_startup": 2,
    "pruner_warmup": 5, "seed": 3, "confirm": {"best": 1, "seeds": [7, 8], "p_threshold": 0.1},
}  # fmt: skip
ENGINE = (
    "--on local --workers 1 --slurm.partition cpu --slurm.time 4h --slurm.memory 4GB --slurm.account mine --slurm.qos high "
    "--slurm.constraint avx2"
)
OPTIONS = {
    "recovery": f"--env mountaincar --grid {{grid}} --logs {{logs}} {ENGINE}",
    "growth": f"--env mountaincar --variant 'a way' --grid {{grid}} --logs {{logs}} {ENGINE} --workers 2",
    "compare": f"--env mountaincar --algorithm mine --grid {{grid}} --logs {{logs}} {ENGINE}",
    "grown": f"--env mountaincar --algorithm mine --grid {{grid}} --logs {{logs}} {ENGINE}",
    "few_episodes": f"--env mountaincar --contender latents --show true --publish true --grid {{grid}} --logs {{logs}} {ENGINE}",
    "reuse": f"--env mountaincar --contender latents --show true --publish true --grid {{grid}} --logs {{logs}} {ENGINE}",
    "pretraining": f"--env reacher --contender less --show true --publish true --grid {{grid}} --logs {{logs}} {ENGINE}",
    "compression": f"--agent pole --publish true --grid {{grid}} --logs {{logs}} {ENGINE}",
    "coverage": "--trials 100 --seed 1 --logs {logs}",
    "afterthought": "--pool {logs}/pools/mine --task left --logs {logs}",
    "exchange": "--env mountaincar --policy small --first 64 --generations 2 --horizon 20 --points 500 --seed 1 --logs {logs}",
    "manifolds": "--points 110 --clouds 1 --seed 3 --logs {logs}",
    "results": "",
    "probe": "{logs}/fit/mountaincar/tiny-seed0",
    "report": "latent_dim --env mountaincar --logs {logs} --tau 0.5 --gain 0.1 --tolerance 0.2 --draws 100 --seed 1",
} | dict.fromkeys(
    SEARCHES,
    f"--env mountaincar --policy small --logs {{logs}} --grid {{grid}} --storage sqlite:///{{logs}}/studies.db --trials 1 {ENGINE}",
)
GRIDS = {"recovery": RECOVERY, "growth": GROWTH, "compare": COMPARE, "grown": COMPARE}


def words_for(study, folder):
    """Return the command line of a study with all of its options."""
    grid = folder / f"{study}.yaml"
    grid.write_text(
        yaml.safe_dump(GRIDS.get(study, {"default": settings(seeds=[0], search={"model.latent_dim": [1]})}))
    )
    return [study, *shlex.split(OPTIONS[study].format(grid=grid, logs=folder / "logs"))]


def fake(self, callbacks=(), *, quiet=False):
    """Stand in for training."""
    summary = dict.fromkeys(("train_fvu", "pca_fvu", "steps", "fit_seconds"), 0.0)
    return summary | {"val_fvu": 0.5 + self.settings.get("model.dropout", 0), "test_fvu": 0.5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Run every study that fits with all of its options; returns what they share."""
    folder = tmp_path_factory.mktemp("studies")
    for study in ("recovery", "growth", "compare", "latent_dim", "probe", "report"):
        if study == "probe":
            probes = folder / "logs" / "fit" / "mountaincar" / "tiny-seed0" / "probes.json"
            told = probes.read_text()
            probes.unlink()
        main(words_for(study, folder))
    assert json.loads(probes.read_text()) == json.loads(told)
    return folder


def test_every_option_is_run():
    """By the fixture, and for the studies that it leaves out by the tests of those."""
    assert set(OPTIONS) == set(STUDIES)
    for study, known in STUDIES.items():
        fields = {field.name: field for field in dataclasses.fields(known.options)}
        names = [name for name, field in fields.items() if name not in HIDDEN and not field.metadata.get("positional")]
        flags = {f"--{name}" for name in names if name != "slurm"}
        if "slurm" in names:
            flags |= {f"--slurm.{field.name}" for field in dataclasses.fields(SlurmSettings)}
        assert flags == {word for word in OPTIONS[study].split() if word.startswith("--")}


@pytest.mark.slow
def test_every_study_leaves_its_tables(folder):
    logs = folder / "logs"
    left = {path.name.rsplit("-", 1)[0]: path for path in (logs / "sweeps").iterdir() if path.name != "locks"}
    assert {
        "recovery-mountaincar",
        "growth-mountaincar-a-way",
        "compare-mountaincar-mine",
    } <= left.keys()
    assert {"latent_dim", "report-latent_dim-mountaincar"} <= left.keys()
    assert (logs / "fit" / "mountaincar" / "tiny-seed0" / "probes.json").is_file()
    # A study's file says where its fits log.
    assert list((logs / "fit" / "mountaincar").glob("recovery*/metrics.csv"))
    assert "| 0.50 |" in (left["recovery-mountaincar"] / "table.md").read_text()
    report = (left["report-latent_dim-mountaincar"] / "report.md").read_text()
    assert "0.5" in report
    # Nothing that ends in a process's own name is left behind.
    assert not list(folder.rglob("*.tmp*"))


@pytest.mark.parametrize("study", [study for study in SEARCHES if study != "latent_dim"])
def test_studies_that_are_a_file_take_the_same_options(study, tmp_path, monkeypatch):
    (tmp_path / "logs").mkdir()
    monkeypatch.setattr(Fit, "run", fake)
    main(words_for(study, tmp_path))
    assert (tmp_path / "logs" / "sweeps" / f"{study}-mountaincar" / "trials.csv").read_text().count("COMPLETE") == 1


def test_every_key_of_every_file_is_run(tmp_path, monkeypatch):
    def keys(kind):
        return {field.name for field in dataclasses.fields(kind)}

    assert keys(RecoveryGrid) == set(RECOVERY["default"])
    assert keys(Ways) == set(GROWTH["default"]) and keys(Variant) == set(GROWTH["default"]["variants"]["a way"])
    assert keys(Comparison) == set(COMPARE) and keys(ComparedEnv) == set(COMPARE["environments"]["mountaincar"])
    # `finetune` is run by test_latent_size_against_return.
    assert keys(StudyPlan) - {"finetune"} == set(SEARCH) and keys(Confirm) == set(SEARCH["confirm"])
    monkeypatch.setattr(Fit, "run", fake)
    grid = tmp_path / "grid.yaml"
    grid.write_text(yaml.safe_dump({"environments": ["mountaincar"], "default": SEARCH}))
    words = ["autoencoder", "--grid", str(grid), "--logs", str(tmp_path), "--workers", "1"]
    main(words)
    table = (tmp_path / "sweeps" / "autoencoder-mountaincar" / "trials.csv").read_text()
    assert table.count("COMPLETE") == 3
    assert (tmp_path / "sweeps" / "autoencoder-mountaincar" / "confirm.md").read_text().count("COMPLETE") == 2
    # Whatever decides the trials counts, also what a search writes down in few of them.
    for change in ({"pruner_warmup": 6}, {"seeds": [1]}, {"confirm": {"best": 1, "seeds": [7, 9]}}):
        grid.write_text(yaml.safe_dump({"environments": ["mountaincar"], "default": SEARCH | change}))
        with pytest.raises(UserError, match="was begun with other settings"):
            main(words)


@pytest.mark.parametrize("study", STUDIES)
def test_help_is_readable_on_80_columns(study, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as stop:
        main([study, "--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0 and max(map(len, text.splitlines())) <= 80
    assert STUDIES[study].what.split(" ")[0] in text
    flat = " ".join(text.split())
    for field in dataclasses.fields(STUDIES[study].options):
        if field.name in HIDDEN:
            assert field.name + " " not in flat.replace("--workers", "")
            continue
        if field.name == "slurm":
            assert all(f" --slurm.{one.name} " in flat for one in dataclasses.fields(SlurmSettings))
            continue
        shown = field.name if field.metadata.get("positional") else f"--{field.name}"
        after = flat.split(f" {shown} ", 2)[-1]
        assert f" {shown} " in flat and ("default:" in after or field.metadata.get("positional"))


def test_the_help_of_all_is_readable_on_80_columns(capsys):
    main(["--help"])
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80 and all(f"  {study}" in text for study in STUDIES)


def test_help_and_mistakes_of_a_command_line_need_no_heavy_import():
    script = (
        "import sys\nfrom sweeps.__main__ import STUDIES, main\nfrom lightning_pz.common.errors import UserError\n"
        "for study in STUDIES:\n"
        "    for words in (['--help'], ['--nothing'], ['--env'], ['--logs']):\n"
        "        try:\n            main([study, *words])\n        except (SystemExit, UserError):\n            continue\n"
        "        raise AssertionError(study)\n"
        "print([name for name in ('torch', 'optuna', 'lightning', 'gymnasium', 'matplotlib') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_mistake_in_a_file_exits_with_2_before_torch(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump({"default": settings(seeds=3)}))
    script = (
        "import sys\nfrom lightning_pz.common.errors import run_main\nfrom sweeps.__main__ import main\n"
        "try:\n    run_main(main)\nfinally:\n    print('torch' in sys.modules or 'optuna' in sys.modules)\n"
    )
    words = ["width", "--env", "mountaincar", "--grid", str(path), "--logs", str(tmp_path / "logs")]
    done = subprocess.run([sys.executable, "-c", script, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "False\n")
    assert (
        done.stderr.startswith(f"error: {path}: a study: seeds expects a list of whole numbers")
        and "Trace" not in done.stderr
    )


def test_a_worker_is_told_the_options_of_its_command():
    options = SearchOptions(env="hopper", trials=3, storage="sqlite:///x.db", workers=7)
    assert words_of(options) == ["--env=hopper", "--trials=3", "--workers=7", "--storage=sqlite:///x.db"]


class Reached(Exception):
    """The work began, so every check has passed."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "study, env", [("recovery", "reacher"), ("growth", "hopper"), ("compare", "reacher"), ("grown", "mountaincar")]
)
def test_the_shipped_files_pass_every_check(study, env, tmp_path, monkeypatch):
    def reached(self, callbacks=(), *, quiet=False):
        raise Reached

    monkeypatch.setattr(Fit, "run", reached)
    with pytest.raises(Reached):
        main([study, "--env", env, "--logs", str(tmp_path / "logs")])


def test_every_shipped_file_belongs_to_a_study():
    with_file = {
        name for name, study in STUDIES.items() if any(f.name == "grid" for f in dataclasses.fields(study.options))
    }
    assert {path.stem for path in (conf_dir() / "sweep").iterdir()} == with_file


@pytest.mark.slow
def test_the_metrics_of_a_study_are_keys_of_a_summary(folder):
    from sweeps.optuna_study.plan import SUMMARY_METRICS

    (path,) = Path(folder / "logs" / "fit" / "mountaincar" / "tiny-seed0").glob("summary.json")
    assert set(SUMMARY_METRICS) <= set(json.loads(path.read_text()))
