"""The compression study trains, compresses, and says what is left; mistakes in its file come before any work."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from lightning_pz.common.errors import UserError
from lightning_pz.envs.presets import conf_dir
from sweeps.__main__ import main
from sweeps.compression import compression_tables
from sweeps.compression.compression_grid import compressing, levels, load_compression
from sweeps.compression.compression_tables import compression_pages, learned_table
from sweeps.results import publishing
from sweeps.results.pages import PageTable

TRAIN = {"algorithm": "ppo", "steps": 128, "episodes": 4, "model": {"ppo": {"n_steps": 64, "batch_size": 32, "n_epochs": 1, "policy_kwargs": {"net_arch": [8, 8]}}}}  # fmt: skip
SMALL = {"distill.steps": 40, "distill.episodes": 2, "distill.held_out": 1, "distill.rounds": 1, "episodes": 5}
GRID = {
    "agents": {"pole": {"env": "cartpole", "train": TRAIN, "compress": {"distill.steps": 40}}},
    "methods": ["prune", "prune+int8"],
    "sparsities": [0.5],
    "seeds": 2,
    "compress": SMALL,
    "learners": {
        "gated": {"env": "cartpole", "train": TRAIN, "method": "l0+low_rank", "seeds": 1},
        "pruned": {"env": "cartpole", "train": TRAIN, "method": "prune", "sparsities": [0.5, 0.75], "seeds": 2},
    },
}


def write(path: Path, grid: dict) -> str:
    path.write_text(yaml.safe_dump(grid))
    return str(path)


@pytest.mark.slow
def test_every_level_is_a_row_and_nothing_is_repeated(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(publishing, "FOLDER", tmp_path / "page")
    grid = write(tmp_path / "grid.yaml", GRID)
    words = [
        "compression",
        "--grid",
        grid,
        "--logs",
        str(tmp_path),
        "--agent",
        "pole",
        "gated",
        "pruned",
        "--workers",
        "2",
    ]
    main([*words, "--publish", "true"])
    said = capsys.readouterr().out
    folder = Path(said.strip().splitlines()[-1])
    made = tmp_path / "compress" / "cartpole"
    # Two seeds of the network serve agent and learners alike; a level that two ask for is one run.
    assert len(list(made.glob("ppo-none-*/summary.json"))) == 2
    runs = [json.loads(path.read_text()) for path in made.glob("distill-*/summary.json")]
    runs = [run for run in runs if run["sparsity_target"] == 0.5 and run["policy"].endswith("seed0/model.zip")]
    assert (folder / "compression_pole.png").is_file()
    with (folder / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["removed"]) for row in rows] == [
        ("pruning", "50%"), ("pruning + int8", "50%"),
    ]  # fmt: skip
    for row in rows:
        method = {"pruning": "prune", "pruning + int8": "prune+int8"}[row["method"]]
        own = [r for r in runs if (r["method"], f"{r['sparsity_target']:.0%}") == (method, row["removed"])]
        assert float(row["return"]) == pytest.approx(np.mean([r["return"] for r in own]))
        assert float(row["return_low"]) == pytest.approx(min(r["return"] for r in own))  # of two seeds: their range
        assert int(row["file, bytes"]) == pytest.approx(np.mean([r["bytes_file"] for r in own]), abs=1)
        kept = sum(r["return"] for r in own) / sum(r["return_dense"] for r in own)
        assert row["kept"] == "" or float(row["kept"]) == pytest.approx(kept)
    page = PageTable.read(tmp_path / "page" / "tables" / "compress-grid.csv")
    assert len(page.table.rows) == 2 and "ends: range over seeds" in page.about["note"]
    assert (tmp_path / "page" / "figures" / "compression_pole.png").is_file()
    assert_learned(folder / "learned.csv", made)
    assert len(PageTable.read(tmp_path / "page" / "tables" / "compress-learned.csv").table.rows) == 5
    assert (tmp_path / "page" / "figures" / "compression_pruned.png").is_file()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "compress").rglob("summary.json")}
    main(words)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "compress").rglob("summary.json")} == before


def test_an_agent_may_be_compressed_by_settings_of_its_own(tmp_path):
    own = {"env": "cartpole", "policy": "long.zip", "compress": {"distill.steps": 70}}
    path = write(tmp_path / "grid.yaml", GRID | {"agents": GRID["agents"] | {"long": own}})
    grid = load_compression(Path(path), ["pole", "long", "pruned"])
    words = {
        level.agent: compressing(grid, level, "x.zip", "logs") for level in levels(grid) if not level.while_learning
    }
    steps = {agent: next(word for word in each if word.startswith("--distill.steps")) for agent, each in words.items()}
    assert steps == {"pole": "--distill.steps=40", "long": "--distill.steps=70", "pruned": "--distill.steps=40"}
    assert all("--distill.episodes=2" in each for each in words.values())


def test_settings_of_a_part_go_to_the_methods_that_have_it(tmp_path):
    own = GRID["agents"]["pole"] | {"compress": {"int8.per_channel": True}}
    grid = load_compression(Path(write(tmp_path / "grid.yaml", GRID | {"agents": {"pole": own}})), ["pole"])
    given = {one.method: "--int8.per_channel=true" in compressing(grid, one, "x.zip", "logs") for one in levels(grid)}
    assert given == {"prune": False, "prune+int8": True}


def test_what_seeds_keep_is_no_mean_of_shares(tmp_path):
    """One network of three that learned little, and loses nothing, does not make up for what the others lose."""
    learner = GRID["learners"]["pruned"] | {"seeds": 3, "sparsities": [0.5]}
    grid = load_compression(Path(write(tmp_path / "grid.yaml", GRID | {"learners": {"pruned": learner}})), ["pruned"])
    dense, left = [72.0, 175.6, 191.9], [97.2, 158.4, 151.2]
    same = {"sparsity": 0.5, "bytes_file": 1, "file_ratio": 1.0, "cpu_seconds": 1.0}
    found = {level: {"return": left[level.seed], "return_dense": dense[level.seed], **same} for level in levels(grid)}
    kept = [row[6] for row in learned_table(grid, found).rows]
    assert [one.value for one in kept] == 2 * [pytest.approx(sum(left) / sum(dense))]  # and not 1.013
    assert all((one.low, one.high) == pytest.approx((151.2 / 191.9, 97.2 / 72)) for one in kept)


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """Return a function that publishes a part of a study of learners, on a day and in as many episodes, and returns the page."""

    def publish(names: list[str], learners: dict, value: float, day: int, episodes: int = 5) -> PageTable:
        told = {"made": f"2027-01-0{day}", "commit": f"c{day}"}
        monkeypatch.setattr(compression_tables, "made_today", lambda command: {"command": command} | told)
        path = Path(write(tmp_path / "grid.yaml", GRID | {"learners": learners}))
        part = load_compression(path, names)
        same = {"sparsity": 0.5, "bytes_file": 1, "file_ratio": 1.0, "cpu_seconds": 1.0, "return_dense": 2.0}
        found = {level: {"return": value + level.seed, "episodes": episodes, **same} for level in levels(part)}
        (page,) = compression_pages(part, found, load_compression(path), tmp_path).values()
        (tmp_path / "compress-learned.csv").write_text(page.file_text())
        assert PageTable.read(tmp_path / "compress-learned.csv") == page
        return page

    return publish


def learners_of(**seeds: int) -> dict:
    return {name: GRID["learners"]["pruned"] | {"sparsities": [0.5], "seeds": count} for name, count in seeds.items()}


def test_publishing_a_part_keeps_the_rows_of_the_others(publish):
    """And drops those of a network that the study has no more; what the table says of itself is of all that it has."""
    learners = learners_of(a=2, b=2, c=4)
    publish(["b"], learners, 1.0, 1)
    publish(["c"], learners, 2.0, 2)
    page = publish(["a"], learners, 3.0, 3)
    assert [row[0] for row in page.table.rows] == ["a", "a", "b", "b", "c", "c"]
    means = [row[5].split()[0] for row in page.table.rows]
    assert means == ["3.50", "3.50", "1.50", "1.50", "3.50", "3.50"]
    assert page.about["command"].endswith("--agent a b c")
    assert "95 % interval, of fewer than 4 the range" in page.about["note"]
    again = publish(["b"], learners, 5.0, 4)
    assert [row[5].split()[0] for row in again.table.rows if row[0] == "b"] == ["5.50", "5.50"]
    less = publish(["a"], learners_of(a=2, b=2), 3.0, 5)
    assert {row[0] for row in less.table.rows} == {"a", "b"} and less.about["command"].endswith("--agent a b")
    assert "rows of c" not in less.about


def test_rows_say_when_they_were_made(publish):
    learners = learners_of(a=2, b=2, c=4)
    publish(["b", "c"], learners, 1.0, 1, episodes=7)
    page = publish(["a"], learners, 3.0, 2)
    made = {key: value for key, value in page.about.items() if key.startswith("rows of ")}
    study = "by `python -m sweeps compression --agent"
    assert made == {
        "rows of a": f"2027-01-02, commit c2, seeds: 2, episodes a run: 5, {study} a`",
        "rows of b": f"2027-01-01, commit c1, seeds: 2, episodes a run: 7, {study} b c`",
        "rows of c": f"2027-01-01, commit c1, seeds: 4, episodes a run: 7, {study} b c`",
    }
    # The same numbers once more are those of their day; of other episodes, or other numbers, they are new.
    assert publish(["a"], learners, 3.0, 3).about["rows of a"] == made["rows of a"]
    other = publish(["a", "b"], learners, 3.0, 4, episodes=7).about
    assert other["rows of a"].startswith("2027-01-04, commit c4, seeds: 2, episodes a run: 7")
    assert other["rows of b"].startswith("2027-01-04") and other["rows of c"] == made["rows of c"]
    words = PageTable(other, page.table).markdown().splitlines()[-1]
    assert f"; rows of a, b: {other['rows of a']}; rows of c: {made['rows of c']}; " in words
    assert "2027-01-04, commit c4;" not in words  # which would be said of all of it


def assert_learned(table: Path, made: Path) -> None:
    """Compare the rows with the runs they are of, each against the dense network of its own seed."""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["network"], row["when"], row["removed"]) for row in rows[1:]] == [
        ("pruned", "while it learns", "50.0%"), ("pruned", "afterwards", "50.0%"), ("pruned", "while it learns", "75.0%"), ("pruned", "afterwards", "75.0%"),
    ]  # fmt: skip
    for row, found in zip(rows, ("ppo-l0*", "ppo-prune-0.5-*", "", "ppo-prune-0.75-*"), strict=False):
        runs = [json.loads(path.read_text()) for path in made.glob(f"{found}/summary.json")] if found else []
        if runs:
            assert float(row["return"]) == pytest.approx(np.mean([run["return"] for run in runs]))
            assert row["removed"] == f"{np.mean([run['sparsity'] for run in runs]):.1%}"
    dense = [json.loads((made / f"ppo-none-seed{seed}" / "summary.json").read_text()) for seed in range(2)]
    # The episodes are those of the compressed network's own seed, which are those of the dense one.
    assert float(rows[1]["dense return"]) == pytest.approx(np.mean([run["return"] for run in dense]))


@pytest.mark.parametrize(
    "change, told",
    [
        ({"methods": ["int8"]}, "expected parts with prune among them"),
        ({"methods": ["prune+int3"]}, r"such as prune\+int8, but got 'prune\+int3'"),
        ({"sparsities": [0.5, 1.5]}, "sparsity"),
        ({"agents": {"pole": {"env": "cartpole"}}}, "give one"),
        ({"agents": {"pole": {"env": "cartpol", "policy": "x.zip"}}}, "cartpol"),
        ({"agents": {"pole": {"env": "cartpole", "policy": "gone.zip"}}}, "none at gone.zip"),
        ({"agents": {"pole": {"env": "cartpole", "policy": "gone.zip", "train": TRAIN}}}, "give one"),
        ({"agents": {"pole": {"env": "cartpole", "published": {"file": "gone.zip"}}}}, "pole.*published"),
        ({"compress": {"distil.steps": 3}}, "distil"),
        ({"agents": {"pole": GRID["agents"]["pole"] | {"compress": {"distil.steps": 3}}}}, "distil"),
        ({"seeds": 0}, "seeds"),
        (
            {"learners": {"a": {"env": "cartpole", "train": TRAIN, "method": "prune"}}},
            "sparsities: expected with a method",
        ),
        ({"learners": {"a": {"env": "cartpole", "train": TRAIN, "method": "l1"}}}, "parts joined by"),
        ({"learners": {"pole": {"env": "cartpole", "train": TRAIN, "method": "l0"}}}, "pole"),
        ({"learners": {"a": {"env": "cartpole", "train": {"step": 3}, "method": "l0"}}}, "step"),
    ],
)
def test_mistakes_in_the_file(change, told, tmp_path):
    words = ["compression", "--grid", write(tmp_path / "grid.yaml", GRID | change), "--logs", str(tmp_path / "logs")]
    with pytest.raises((UserError, SystemExit), match=told):
        main(words)
    assert not (tmp_path / "logs" / "compress").exists()


def test_an_unknown_agent(tmp_path):
    with pytest.raises(UserError, match="pole"):
        main(["compression", "--grid", write(tmp_path / "grid.yaml", GRID), "--agent", "pol", "--logs", str(tmp_path)])


def test_the_shipped_file_has_the_published_levels():
    grid = load_compression(conf_dir() / "sweep" / "compression.yaml")
    assert grid.sparsities == [0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99] and grid.seeds >= 3
    assert {"prune", "prune+int8"} <= set(grid.methods)
