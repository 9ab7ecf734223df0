"""Archives of policies come in as pools, those of `ribs` alone and our own."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ribs.archives import ArchiveDataFrame, GridArchive

from lightning_pz import collect, evaluate, fit
from lightning_pz.common.errors import UserError
from lightning_pz.doors.archive_files import read_fields
from lightning_pz.doors.ribs_archive import archive_network, open_archive
from lightning_pz.policy.saved import SavedPolicy
from lightning_pz.pool.best import best_of_pool
from lightning_pz.pool.store import read_pool

STATES_WORD = "{probe: 16, train: 24, val: 12, test: 12, episodes: 4}"
CAR = ["--env", "mountaincar", "--env.horizon", "40", "--policy", "small"]
IN = ["--recipe", "archive", *CAR, "--states", STATES_WORD, "--neighbors", "3"]
FIT = [
    *CAR, "--model.latent_dim", "2", "--model.encoder_widths", "[8]", "--model.decoder_widths", "[8]", "--data.batch_size", "8",
    "--data.states_per_step", "8", "--data.steps_per_epoch", "4", "--trainer.max_steps", "4", "--trainer.log_every_n_steps", "2",
]  # fmt: skip


def plain_archive(width=9, count=60, dtype=np.float32):
    """Return an archive that `ribs` alone made of random policies of so many weights."""
    archive = GridArchive(solution_dim=width, dims=[10, 10], ranges=[(0, 1), (0, 1)], solution_dtype=dtype)
    generator = np.random.default_rng(0)
    places = generator.permutation(100)[:count]
    measures = np.stack([places // 10, places % 10], axis=1) / 10 + 0.05
    archive.add(generator.standard_normal((count, width)), generator.standard_normal(count), measures)
    return archive


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
