"""Pools go out as archives of `ribs`, which it opens and plots itself."""

import csv
import io
import json
import re
import shlex
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ribs.visualize import cvt_archive_heatmap

from lightning_pz import export
from lightning_pz.common import checks
from lightning_pz.common.errors import UserError
from lightning_pz.common.plotting import single
from lightning_pz.doors import ribs_archive
from lightning_pz.doors.archive_files import read_fields
from lightning_pz.doors.archive_settings import ArchiveSettings
from lightning_pz.doors.outcome_axes import axis_label, choose_axes
from lightning_pz.doors.ribs_archive import archive_network, open_archive
from lightning_pz.envs.policy_layout import layout_settings, policy_layout
from lightning_pz.envs.specs import env_spec
from lightning_pz.policy import Head, Layout, PolicyNetwork

CAR = ["--env", "mountaincar", "--env.horizon", "40", "--policy", "small"]


def test_an_archive_opens_in_ribs_and_is_plotted_by_it(grown, exported):
    archive = open_archive(exported)
    fields = read_fields(exported / "archive.npz")
    assert archive.measure_dim == 2 and archive.cells == 200 and len(archive) == len(fields["row"]) > 10
    for name, array in archive.data().items():
        np.testing.assert_array_equal(array, fields[name])
    np.testing.assert_array_equal(fields["solution"], grown.params(fields["row"]).numpy())
    np.testing.assert_array_equal(archive.index_of(fields["measures"]), fields["index"])
    figure, axes = single()
    cvt_archive_heatmap(archive, axes)
    figure.savefig(io.BytesIO(), format="png")
    assert axes.collections and sorted(path.stem for path in (exported / "figures").iterdir()) == [
        f"heat_map-{task}" for task in sorted(grown.meta["growth"]["tasks"])
    ]


def test_scores_are_those_of_a_direct_computation(grown, exported):
    names, outcomes = grown.meta["growth"]["outcome_names"], np.array(grown.arrays["outcomes"], dtype=np.float64)
    scale = np.where(np.array(names) == "length", 0.1, 1)
    about, centroids = json.loads((exported / "archive.json").read_text()), np.load(exported / "centroids.npy")
    measures = (outcomes / scale)[:, [names.index(name) for name in about["measures"]]]
    cells = np.square(measures[:, None] - centroids).sum(2).argmin(1)
    with (exported / "scores.csv").open(newline="") as file:
        rows = {row["task"]: row for row in csv.DictReader(file)}
    for number, task in enumerate(grown.meta["growth"]["tasks"]):
        returns = np.array(grown.arrays["returns"][:, number])
        best = np.array([returns[cells == cell].max() for cell in np.unique(cells)])
        row = {name: float(value) for name, value in rows[task].items() if name != "task"}
        assert row["QD score"] == pytest.approx((best - returns.min()).sum(), abs=1e-9)
        assert row["coverage"] == len(best) / 200 and row["cells"] == len(best)
        assert (row["best"], row["counted from"]) == (returns.max(), returns.min())
        assert row["mean of cells"] == pytest.approx(best.mean())
    left = open_archive(exported)
    assert float(left.stats.qd_score) == pytest.approx(float(rows["left"]["QD score"]))


@pytest.mark.draws
def test_the_same_seed_gives_the_same_files_and_another_other_cells(grown, exported, tmp_path, capsys):
    words = ["--pool", str(grown.folder), "--cells", "200", "--task", "left", "--to"]
    export.main([*words, str(tmp_path / "again")])
    (told,) = re.findall(r"next: (.*)", capsys.readouterr().out)
    following = shlex.split(told)[3:]
    assert following == ["--recipe", "archive", "--archive", str(tmp_path / "again"), *CAR]
    files = sorted(path.relative_to(exported) for path in exported.rglob("*.*"))
    assert len(files) == 4 + len(grown.meta["growth"]["tasks"])
    assert all((exported / file).read_bytes() == (tmp_path / "again" / file).read_bytes() for file in files)
    export.main([*words, str(tmp_path / "other"), "--seed", "1"])
    assert (exported / "centroids.npy").read_bytes() != (tmp_path / "other" / "centroids.npy").read_bytes()


def test_axes_are_those_of_greatest_spread_or_the_named_ones(grown, tmp_path, capsys):
    names, outcomes = grown.meta["growth"]["outcome_names"], np.array(grown.arrays["outcomes"], dtype=np.float64)
    moving = [name for name in names if name not in grown.meta["growth"]["left_out"]]
    spread = outcomes.std(0) / np.where(np.array(names) == "length", 0.1, 1)
    by_spread = sorted(moving, key=lambda name: -spread[names.index(name)])
    assert choose_axes(grown, None).names == tuple(by_spread[:2])
    assert choose_axes(grown, "all").names == tuple(moving) and "spread 1" in moving
    assert axis_label("spread 1") == "spread of observation 1 (sd of the state sample)"
    words = ["--pool", str(grown.folder), "--cells", "20"]
    for axes, told in (("mean 1", "figures"), ("all", "none, for they need")):
        export.main([*words, "--axes", axes, "--to", str(tmp_path / axes)])
        assert told in capsys.readouterr().out
        about = json.loads((tmp_path / axes / "archive.json").read_text())
        assert open_archive(tmp_path / axes).measure_dim == len(about["ranges"]) == len(about["measures"])
        assert (tmp_path / axes / "figures").exists() == (axes == "mean 1")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--pool", "gone", "--to", "x"], "--pool expects the folder of a pool, but there is no pool.json in gone"),
        (["--pool", "POOL", "--policy", "p.npz", "--to", "x"], "one of --checkpoint, --policy and --pool"),
        (["--pool", "POOL"], "export takes --to"),
        (["--pool", "POOL", "--to", "there"], "--to there is there already"),
        (["--pool", "POOL", "--to", "x.npz"], "--to expects a folder for a pool, but got x.npz"),
        (["--pool", "POOL", "--to", "x", "--task", "lef"], r"--task expects .*standard, left.* but got 'lef'\. Did you mean 'left'"),
        (["--pool", "POOL", "--to", "x", "--axes", "mean 0,meen 1"], r"but got 'meen 1'\. Did you mean 'mean 1'"),
        (["--pool", "POOL", "--to", "x", "--axes", "mean 0,mean 0"], "--axes expects each outcome once"),
        (["--pool", "POOL", "--to", "x", "--axes", "length"], "--axes length spans no cells, for it is 10 for all policies"),
        (["--pool", "POOL", "--to", "x", "--cells", "1"], "--cells expects 2 to 20000, .* but got 1"),
        (["--pool", "POOL", "--to", "x", "--cells", "many"], "--cells expects a whole number, but got 'many'"),
        (["--pool", "POOL", "--to", "x", "--seed", "-1"], "--seed expects a seed from 0"),
        (["--pool", "POOL", "--to", "x", "--env", "hopper"], "--env goes with a .zip that is written"),
        (["--pool", "POOL", "--to", "x", "--normalization", "n.pkl"], "--normalization goes with a .zip"),
        (["--policy", "p.npz", "--to", "x.zip", "--env", "hopper", "--axes", "mean 0"], "--axes goes with --pool"),
        (["--policy", "p.npz", "--to", "x.zip", "--env", "hopper", "--cells", "7"], "--cells goes with --pool"),
    ],
)  # fmt: skip
def test_what_cannot_be_exported_is_told_and_nothing_is_written(words, told, grown, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    Path("p.npz").write_text("nothing")
    with pytest.raises(UserError, match=told):
        export.main([str(grown.folder) if word == "POOL" else word for word in words])
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["p.npz", "there"]


def test_a_random_pool_and_a_missing_package_are_told(pool, grown, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="is a random pool, whose policies were never played, so it has no outcomes"):
        export.main(["--pool", str(pool.folder), "--to", str(tmp_path / "x")])
    monkeypatch.setattr(checks, "is_installed", lambda name: name not in ("ribs", "shapely"))
    with pytest.raises(UserError, match=r"--pool .* needs the packages ribs and shapely, .*lightning_pz\[qd\]"):
        export.main(["--pool", str(grown.folder), "--to", str(tmp_path / "x")])
    with pytest.raises(UserError, match=r"open_archive needs the package ribs.*lightning_pz\[qd\]"):
        open_archive(tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_disk_that_fails_leaves_nothing_half_written(grown, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ribs_archive, "save_heat_map", fail)
    with pytest.raises(UserError, match="the disk is full while writing"):
        ribs_archive.write_archive(grown, tmp_path / "x", ArchiveSettings(cells=20))
    assert not any(tmp_path.iterdir())


def test_files_hold_no_code_and_no_path(exported):
    with zipfile.ZipFile(exported / "archive.npz") as file:
        assert all(name.endswith(".npy") for name in file.namelist())
    assert read_fields(exported / "archive.npz")["solution"].dtype == np.float32
    assert str(exported.parent) not in (exported / "archive.json").read_text()
    network = archive_network(exported)
    assert isinstance(network, PolicyNetwork) and network.layout == Layout(2, (2,), 1)
    with pytest.raises(UserError, match=r"holds no archive\.json"):
        archive_network(exported / "figures")


def test_an_archive_whose_files_are_gone_or_cut_is_told(exported, tmp_path):
    for name, content in (("archive.npz", b"PK"), ("centroids.npy", None)):
        shutil.copytree(exported, tmp_path / name)
        (tmp_path / name / name).unlink() if content is None else (tmp_path / name / name).write_bytes(content)
        with pytest.raises(UserError, match=r"cannot be opened \(\w+: .*: export the pool again"):
            open_archive(tmp_path / name)


@pytest.mark.parametrize(
    "given",
    [
        Layout(2, (2,), 1), Layout(2, (), 1, "relu"), Layout(2, (6, 5), 1, "relu", Head("gaussian", initial_std=0.2, sample=True)),
        Layout(2, (32, 32), 1, head=Head("categorical", (3,), temperature=0.5)),
    ],
)  # fmt: skip
def test_the_settings_of_a_layout_ask_for_it(given):
    spec = replace(env_spec("MountainCarContinuous-v0"), choices=given.head.choices)
    assert policy_layout(spec, layout_settings(given)) == given
