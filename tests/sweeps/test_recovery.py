"""The recovery study on a tiny grid: it makes the table, finds finished runs again, and goes on after a kill."""

import shutil

import pytest
import yaml

from lightning_pz.common.errors import UserError
from sweeps.__main__ import main
from sweeps.recovery import load_recovery
from tests.sweeps.conftest import TINY


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    path = tmp_path_factory.mktemp("grid") / "grid.yaml"
    settings = {
        "policies": {"small": {}}, "latent_dims": [1], "seeds": [0, 1], "fit": TINY,
        "evaluate": {"policies": 6, "episodes": 1, "draws": 10},
    }  # fmt: skip
    published = {"mountaincar": {"standard": {"small": {1: 0.64}}}}
    path.write_text(yaml.safe_dump({"default": settings, "published": published}))
    return path


@pytest.fixture(scope="module")
def logs(grid, tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    main(["recovery", "--env", "mountaincar", "--grid", str(grid), "--logs", str(folder)])
    return folder


def tables(logs):
    """Return the folder of the tables of the one grid that was run; another grid than the shipped one has its own."""
    (folder,) = (logs / "sweeps").glob("recovery-mountaincar-*")
    return folder


def stamps(logs):
    return {str(p): p.stat().st_mtime_ns for p in logs.rglob("summary.json")}


@pytest.mark.slow
def test_table_and_figure(logs):
    folder = tables(logs)
    table = (folder / "table.md").read_text().splitlines()
    assert len(table) == 2 + 4 + 2 and table[2].endswith("| 0.64 |")
    assert " to " in table[2] and "(lowest to highest), their range" in table[-1]  # of two seeds
    assert len((folder / "table.csv").read_text().splitlines()) == 1 + 4
    assert (folder / "recovery.png").is_file()
    assert len(list((logs / "fit" / "mountaincar").glob("recovery-*"))) == 2


@pytest.mark.slow
def test_finished_runs_are_never_repeated_and_interrupted_ones_go_on(logs, grid):
    folder = logs / "fit" / "mountaincar" / "recovery-small-k1-seed1"
    best = (folder / "summary.json").read_text()
    (folder / "summary.json").unlink()  # as if the run had been killed before its end
    table = (tables(logs) / "table.csv").read_bytes()
    before = stamps(logs)
    main(["recovery", "--env", "mountaincar", "--grid", str(grid), "--logs", str(logs)])
    after = stamps(logs)
    assert {path: stamp for path, stamp in after.items() if path in before} == before
    assert (folder / "summary.json").is_file() and "val_fvu" in best
    assert (tables(logs) / "table.csv").read_bytes() == table


@pytest.mark.slow
def test_a_run_of_other_settings_is_not_taken_for_this_one(logs, grid, tmp_path):
    shutil.copytree(logs, tmp_path / "logs")
    other = yaml.safe_load(grid.read_text())
    other["default"]["fit"]["trainer.max_steps"] = 20
    path = tmp_path / "other.yaml"
    path.write_text(yaml.safe_dump(other))
    with pytest.raises(UserError, match=r"other settings than .*other.yaml asks for: trainer.max_steps is 10, not 20"):
        main(["recovery", "--env", "mountaincar", "--grid", str(path), "--logs", str(tmp_path / "logs")])


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["recovry", "--env", "mountaincar"], "Did you mean 'recovery'"),
        (["recovery"], "which environment"),
        (["recovery", "--env", "halfcheeta"], "Did you mean 'halfcheetah'"),
        (["recovery", "--env", "hopper", "--steps", "3"], "there is no option --steps"),
        (["recovery", "--env", "hopper", "--grid", "nowhere.yaml"], "none at nowhere.yaml"),
    ],
)
def test_bad_input(arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        main(arguments)


def test_a_mistyped_key_of_a_grid_is_told(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text("default: {policies: {small: {}}, latent_dim: [1], seeds: [0]}\n")
    with pytest.raises(UserError, match=r"grid.yaml: a grid has the keys .*'latent_dim'. Did you mean 'latent_dims'"):
        load_recovery("mountaincar", path)


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"seeds": 3}, "seeds expects a list of whole numbers"),
        ({"seeds": [-1]}, "seeds expects a whole number from 0"),
        ({"latent_dims": []}, "'latent_dims' expects at least one entry"),
        ({"latent_dims": [0]}, "latent_dims expects a whole number of at least 1, but got 0"),
        ({"policies": {}}, "'policies' expects at least one entry"),
        ({"policies": {"a/b": {}}}, "--policies expects a name for folders"),
        ({"evaluate": {"polices": 6}}, "evaluate has the keys .*Did you mean 'policies'"),
        ({"evaluate": {"policies": "six"}}, "evaluate: policies expects a whole number, but got 'six'"),
        ({"evaluate": {"policies": 0}}, "evaluate: --policies expects at least 1"),
        ({"fit": {"model.latent_dmi": 3}}, "grid.yaml: .*latent_dmi"),
    ],
)
def test_a_grid_that_means_nothing_is_refused_before_the_work(tmp_path, grid, changes, sentence):
    plain = yaml.safe_load(grid.read_text())
    plain["default"] |= changes
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump(plain))
    with pytest.raises(UserError, match=sentence) as told:
        main(["recovery", "--env", "mountaincar", "--grid", str(path), "--logs", str(tmp_path / "logs")])
    assert str(path) in str(told.value) and not (tmp_path / "logs").exists()


def test_a_misspelled_section_is_told(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text("default: {policies: {small: {}}, latent_dims: [1], seeds: [0]}\npublishd: {}\n")
    with pytest.raises(UserError, match="Did you mean 'published'"):
        load_recovery("mountaincar", path)


def test_logs_that_cannot_be_written_are_told_before_the_work(tmp_path, grid):
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(UserError, match="cannot be made"):
        main(["recovery", "--env", "mountaincar", "--grid", str(grid), "--logs", str(tmp_path / "logs")])


def test_shipped_grids():
    from lightning_pz.envs.presets import conf_dir, preset_names

    for env in preset_names("env"):
        grid, published = load_recovery(env, conf_dir() / "sweep" / "recovery.yaml")
        assert len(grid.seeds) >= 2
        assert all(set(by_k) <= set(grid.latent_dims) for task in published.values() for by_k in task.values())
