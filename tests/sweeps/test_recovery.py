"""The recovery study on a tiny grid: it makes the table, finds finished runs again, and goes on after a kill."""

import shutil

import pytest
import yaml

from lightning_pz.errors import UserError
from sweeps.__main__ import main
from sweeps.recovery import load_grid

TINY = {
    "data.random.candidates": 120, "data.random.neighbors": 3, "data.steps_per_epoch": 5, "trainer.max_steps": 10,
    "trainer.log_every_n_steps": 1, "data.batch_size": 16, "data.states_per_step": 4,
    "data.random.states": {"probe": 16, "train": 16, "val": 8, "test": 8, "episodes": 2},
}  # fmt: skip


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


def stamps(logs):
    return {str(p): p.stat().st_mtime_ns for p in logs.rglob("summary.json")}


def test_table_and_figure(logs):
    folder = logs / "sweeps" / "recovery-mountaincar"
    table = (folder / "table.md").read_text().splitlines()
    assert len(table) == 2 + 4 + 2 and table[2].endswith("| 0.64 |")
    assert " to " in table[2] and "(lowest to highest), their range" in table[-1]  # of two seeds
    assert len((folder / "table.csv").read_text().splitlines()) == 1 + 4
    assert (folder / "recovery.png").is_file()
    assert len(list((logs / "fit" / "mountaincar").iterdir())) == 2


def test_finished_runs_are_never_repeated_and_interrupted_ones_go_on(logs, grid):
    folder = logs / "fit" / "mountaincar" / "recovery-small-k1-seed1"
    best = (folder / "summary.json").read_text()
    (folder / "summary.json").unlink()  # as if the run had been killed before its end
    table = (logs / "sweeps" / "recovery-mountaincar" / "table.csv").read_bytes()
    before = stamps(logs)
    main(["recovery", "--env", "mountaincar", "--grid", str(grid), "--logs", str(logs)])
    after = stamps(logs)
    assert {path: stamp for path, stamp in after.items() if path in before} == before
    assert (folder / "summary.json").is_file() and "val_fvu" in best
    assert (logs / "sweeps" / "recovery-mountaincar" / "table.csv").read_bytes() == table


def test_a_run_of_other_settings_is_not_taken_for_this_one(logs, grid, tmp_path):
    shutil.copytree(logs, tmp_path / "logs")
    other = yaml.safe_load(grid.read_text())
    other["default"]["fit"]["trainer.max_steps"] = 20
    path = tmp_path / "other.yaml"
    path.write_text(yaml.safe_dump(other))
    with pytest.raises(UserError, match=r"trainer.max_steps = 10, but the grid asks for 20"):
        main(["recovery", "--env", "mountaincar", "--grid", str(path), "--logs", str(tmp_path / "logs")])


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["recovry", "--env", "mountaincar"], "Did you mean 'recovery'"),
        (["recovery"], "which environment"),
        (["recovery", "--env", "halfcheeta"], "Did you mean 'halfcheetah'"),
        (["recovery", "--env", "hopper", "--steps", "3"], "takes --env, --grid, --logs, but got --steps 3"),
        (["recovery", "--env", "hopper", "--grid", "nowhere.yaml"], "none at nowhere.yaml"),
    ],
)
def test_bad_input(arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        main(arguments)


def test_a_mistyped_key_of_a_grid_is_told(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text("default: {policies: {small: {}}, latent_dim: [1], seeds: [0]}\n")
    with pytest.raises(UserError, match="latent_dim"):
        load_grid("mountaincar", path)


def test_shipped_grids():
    from lightning_pz.presets import conf_dir, preset_names

    for env in preset_names("env"):
        grid, published = load_grid(env, conf_dir() / "sweep" / "recovery.yaml")
        assert len(grid.seeds) >= 2
        assert all(set(by_k) <= set(grid.latent_dims) for task in published.values() for by_k in task.values())
