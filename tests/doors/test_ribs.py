"""Pools go out as archives of `ribs`, which it opens and plots itself, and archives of policies come in as pools."""

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
import torch
from ribs.archives import ArchiveDataFrame, GridArchive
from ribs.visualize import cvt_archive_heatmap

from lightning_pz import collect, evaluate, export, fit
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
from lightning_pz.growth import loop
from lightning_pz.policy import Head, Layout, PolicyNetwork
from lightning_pz.policy.saved import SavedPolicy
from lightning_pz.pool.best import best_of_pool
from lightning_pz.pool.grown_recipe import GrownRecipe
from lightning_pz.pool.states import StateCounts
from lightning_pz.pool.store import read_pool

STATES = StateCounts(probe=16, train=24, val=12, test=12, episodes=4)
STATES_WORD = "{probe: 16, train: 24, val: 12, test: 12, episodes: 4}"
CAR = ["--env", "mountaincar", "--env.horizon", "40", "--policy", "small"]
IN = ["--recipe", "archive", *CAR, "--states", STATES_WORD, "--neighbors", "3"]
FIT = [
    *CAR, "--model.latent_dim", "2", "--model.encoder_widths", "[8]", "--model.decoder_widths", "[8]", "--data.batch_size", "8",
    "--data.states_per_step", "8", "--data.steps_per_epoch", "4", "--trainer.max_steps", "4", "--trainer.log_every_n_steps", "2",
]  # fmt: skip


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    recipe = GrownRecipe(
        steps=8_000, horizon=40, first=40, size=80, directions=4, population=4, generations=3, own_states=3, neighbors=5,
        threads=1, outcome="mean_spread", states=STATES,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name in ("log_round", "write_figures"):  # which take most of the time of a tiny growth
            patch.setattr(loop.report, name, lambda *_: None)
        folder = tmp_path_factory.mktemp("grown") / "car"
        return loop.grow(folder, env_spec("MountainCarContinuous-v0", 40), Layout(2, (2,), 1), recipe, progress=False)


@pytest.fixture(scope="module")
def exported(grown, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "archive"
    export.main(["--pool", str(grown.folder), "--to", str(folder), "--cells", "200", "--task", "left"])
    return folder


def plain_archive(width=9, count=60, dtype=np.float32):
    """Return an archive that `ribs` alone made of random policies of so many weights."""
    archive = GridArchive(solution_dim=width, dims=[10, 10], ranges=[(0, 1), (0, 1)], solution_dtype=dtype)
    generator = np.random.default_rng(0)
    places = generator.permutation(100)[:count]
    measures = np.stack([places // 10, places % 10], axis=1) / 10 + 0.05
    archive.add(generator.standard_normal((count, width)), generator.standard_normal(count), measures)
    return archive


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


def test_policies_that_go_out_and_come_back_act_the_same_to_the_last_bit(
    grown, exported, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    collect.main([*IN, "--archive", str(exported)])
    printed = capsys.readouterr().out
    folder = Path(printed.strip().splitlines()[-1])
    assert "standardized as archive.json says" in printed and folder.name.startswith("mountaincar-small-archive-s0-")
    pool, rows = read_pool(folder), read_fields(exported / "archive.npz")["row"]
    there, here = pool.arrays["indices"], np.arange(len(pool))
    seen = torch.randn(50, 2, generator=torch.Generator().manual_seed(0)).expand(len(pool), -1, -1)
    wanted = grown.network(grown.params(rows[there]), seen)
    assert torch.equal(pool.network(pool.params(here), seen), wanted)
    assert torch.equal(
        archive_network(exported)(torch.from_numpy(open_archive(exported).data("solution")[there]), seen), wanted
    )
    # The same content from another place is the same pool, and another size or environment is told.
    collect.main([*IN, "--archive", str(exported / "archive.npz"), "--pool", str(folder)])
    assert "was there already" in capsys.readouterr().out
    with pytest.raises(
        UserError, match=r"policies of widths \(2, 2, 1\) \(tanh, tanh head\), but --policy asks for \(2, 3, 1\)"
    ):
        collect.main([*IN, "--archive", str(exported), "--policy.hidden", "[3]"])
    with pytest.raises(UserError, match=r"another environment than --env asks for \(env.horizon is 40, not 50\)"):
        collect.main([*IN, "--archive", str(exported), "--env.horizon", "50"])
    with pytest.raises(UserError, match=r"is a pool of other settings than asked for: recipe\.seed is 0, not 1"):
        collect.main([*IN, "--archive", str(exported), "--pool", str(folder), "--seed", "1"])


@pytest.mark.parametrize("form", ["npz", "csv", "folder"])
def test_an_archive_of_plain_ribs_becomes_a_pool_that_fit_trains_on(form, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    archive = plain_archive()
    if form == "npz":
        np.savez("mine.npz", **archive.data())
    else:
        Path("mine").mkdir()
        archive.data(return_type="pandas").to_csv("mine/archive.csv")
        assert isinstance(archive.data(return_type="pandas"), ArchiveDataFrame)
    place = {"npz": "mine.npz", "csv": "mine/archive.csv", "folder": "mine"}[form]
    collect.main([*IN, "--archive", place, "--pool", "pool"])
    pool = read_pool(Path("pool"))
    assert pool.meta["recipe"] == "archive" and pool.meta["candidates"] == 60 and len(pool) > 40
    np.testing.assert_array_equal(pool.arrays["params"], archive.data("solution")[pool.arrays["indices"]])
    assert pool.meta["observation_mean"] == [0, 0] and pool.meta["observation_std"] == [1, 1]
    box = [torch.tensor([one]) for one in (-1.0, 1.0)]
    policy = SavedPolicy(pool.layout, pool.params(np.arange(1))[0], torch.zeros(2), torch.ones(2), *box)
    raw = torch.from_numpy(pool.arrays["states"][:16].copy())
    torch.testing.assert_close(torch.from_numpy(pool.arrays["fingerprints"][0].copy()), policy.act(raw))
    if form != "npz":
        return
    result = fit.main([*FIT, "--data.pool", "pool"])
    assert result.summary["recipe"] == "archive" and np.isfinite(result.summary["test_fvu"])
    assert "--start" not in result.summary["next_command"]
    played = ["--policies", "4", "--episodes", "1", "--draws", "5", "--fresh_episodes", "2", "--threads", "1"]
    evaluate.main(["--checkpoint", result.summary["checkpoint"], *played])
    (summary,) = Path("logs/evaluate").rglob("summary.json")
    assert "left/recovery_best" in json.loads(summary.read_text())
    with pytest.raises(UserError, match="is the pool of an archive, which holds no episodes, so which is best"):
        best_of_pool(pool, "left")
    with pytest.raises(
        UserError, match="is the pool of an archive, which holds no episodes, so there is nothing to rank"
    ):
        evaluate.main(["--pool", "pool", "--task", "left"])
    with pytest.raises(
        UserError, match=r"--model\.loss behavior_visited needs the states .* is the pool of an archive"
    ):
        fit.main([*FIT, "--data.pool", "pool", "--model.loss", "behavior_visited"])


def test_linear_policies_without_biases_choose_as_a_plain_product_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    archive = plain_archive(width=8, dtype=np.float64)
    np.savez("mine.npz", **archive.data())
    words = [
        "--recipe",
        "archive",
        "--archive",
        "mine.npz",
        "--env",
        "CartPole-v1",
        "--env.horizon",
        "40",
        "--states",
        STATES_WORD,
    ]
    words += ["--policy.hidden", "[]", "--policy.name", "linear", "--neighbors", "3", "--pool", "pool"]
    with pytest.raises(UserError, match=r"expects 10 weights .* 8 numbers: .*\(--biases false, if they hold none\)"):
        collect.main(words)
    collect.main([*words, "--biases", "false"])
    pool = read_pool(Path("pool"))
    matrices = archive.data("solution")[pool.arrays["indices"]].astype(np.float32).reshape(-1, 2, 4)
    raw = np.random.default_rng(1).standard_normal((len(pool), 30, 4)).astype(np.float32)
    wanted = np.einsum("nao,nso->nsa", matrices, raw).argmax(2)
    got = pool.network(pool.params(np.arange(len(pool))), torch.from_numpy(raw))[..., 0].numpy()
    np.testing.assert_array_equal(got, wanted)


def test_solutions_that_act_alike_are_kept_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    solutions = plain_archive().data("solution")
    np.savez("twice.npz", solution=np.concatenate([solutions, solutions]))
    collect.main([*IN, "--archive", "twice.npz", "--pool", "pool"])
    pool = read_pool(Path("pool"))
    assert pool.meta["candidates"] == 120 and len(pool) <= 60 and pool.arrays["indices"].max() < 60
    np.savez("alike.npz", solution=np.repeat(solutions[:2], 10, axis=0))
    with pytest.raises(UserError, match=r"only 2 of 20 solutions of alike\.npz behave differently, but .* 3 neighbors"):
        collect.main([*IN, "--archive", "alike.npz", "--pool", "other"])
    assert not Path("other").exists()


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


def solutions_of(name):
    """Write the archive of one kind of bad input, and return its path."""
    found = np.array(plain_archive().data("solution"), dtype=np.float64)
    if name in ("nan.npz", "huge.npz"):
        found[[3, 7], 2] = np.nan if name == "nan.npz" else 1e300
    if name == "cut.npz":
        np.savez(name, solution=found)
        Path(name).write_bytes(Path(name).read_bytes()[:900])
    elif name == "pickled.npz":
        np.savez(name, solution=np.array([{"weights": 1}] * 3, dtype=object))
    elif name == "blank.csv":
        Path(name).write_text("solution_0,solution_1\n1,2\n3,\n")
    elif name == "words.csv":
        Path(name).write_text("solution_0,solution_1\n1,2\n3,x\n")
    elif name in ("columns.csv", "gap.csv"):
        Path(name).write_text("a,b\n1,2\n" if name == "columns.csv" else "solution_0,solution_2\n1,2\n")
    elif name == "empty":
        Path(name).mkdir()
    elif name in ("broken", "newer"):
        Path(name).mkdir()
        np.savez(f"{name}/archive.npz", solution=found)
        Path(name, "archive.json").write_text("{" if name == "broken" else '{"format_version": 2}')
    elif name == "table.txt":
        Path(name).write_text("nothing")
    elif name != "gone.npz":
        arrays = {"cube.npz": found.reshape(60, 3, 3), "ten.npz": np.ones((60, 10)), "none.npz": found[:0]}
        key = "weights" if name == "field.npz" else "solution"
        np.savez(name, **{key: arrays.get(name, found), "objective": np.zeros(60)})
    return name


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("gone.npz", r"--archive expects a file or a folder, but there is none at gone\.npz: save one with np\.savez"),
        ("empty", r"--archive expects a folder with archive\.npz or archive\.csv, but empty has neither"),
        ("table.txt", r"--archive expects an \.npz, a \.csv or a folder, but got table\.txt"),
        ("cut.npz", r"--archive cut\.npz cannot be read"),
        ("pickled.npz", r"--archive pickled\.npz cannot be read \(ValueError: Object arrays cannot be loaded"),
        ("words.csv", r"--archive words\.csv cannot be read \(ValueError"),
        ("blank.csv", r"weight 1 of solution 1 is nan"),
        ("field.npz", "expects the field solution, .* but field.npz has weights, objective"),
        ("columns.csv", "but columns.csv has a, b"),
        ("gap.csv", "but gap.csv has solution_0, solution_2"),
        ("cube.npz", r"those of cube\.npz have the shape \(60, 3, 3\)"),
        ("none.npz", r"those of none\.npz have the shape \(0, 9\)"),
        ("nan.npz", r"finite weights, but in nan\.npz weight 2 of solution 3 is nan \(2 of 60 solutions"),
        ("huge.npz", r"weight 2 of solution 3 is 1e\+300"),
        ("ten.npz", r"--policy expects 9 weights of widths \(2, 2, 1\), but the solutions of ten\.npz have 10 numbers"),
        ("broken", r"archive\.json is no description of an archive"),
        ("newer", "is an archive of format 2, but this version of lightning_pz reads format 1"),
    ],
)
def test_archives_that_are_no_policies_are_told_and_nothing_is_written(name, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = solutions_of(name)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    with pytest.raises(UserError, match=told):
        collect.main([*IN, "--archive", path])
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_options_that_do_not_go_with_an_archive_are_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words, told in (
        (["--recipe", "archive"], "takes its policies from a file or folder: give --archive PATH"),
        (["--recipe", "archive", "--archive", "x", "--keep", "0.5"], "--keep is an option of --recipe random"),
        (["--recipe", "archive", "--archive", "x", "--workers", "2"], "there is no option --workers"),
        (["--recipe", "random", "--archive", "x"], "--archive is an option of --recipe archive"),
        (["--recipe", "archive", "--archive", "x", "--neighbors", "0"], "--neighbors expects at least 1"),
        (
            ["--recipe", "archiv"],
            r"--recipe expects one of random, grown, archive, but got 'archiv'\. Did you mean 'archive'",
        ),
    ):
        with pytest.raises(UserError, match=told):
            collect.main([*CAR, *words])
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
