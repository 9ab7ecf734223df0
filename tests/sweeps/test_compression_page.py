"""What the compression page says in prose is what its tables and the study's file say."""

import dataclasses

import pytest

from lightning_pz import compress
from lightning_pz.compression.methods.schedule import kept_counts
from lightning_pz.envs.presets import conf_dir
from sweeps.compression.compression_grid import compressing, levels, load_compression
from sweeps.results.pages import FOLDER, PageTable


@pytest.fixture
def page() -> str:
    return " ".join((FOLDER / "templates" / "compress.md").read_text().split())


def rows(name: str) -> list[dict[str, str]]:
    table = PageTable.read(FOLDER / "tables" / f"compress-{name}.csv").table
    return [dict(zip(table.header, row, strict=True)) for row in table.rows]


def kept_by(agent: str, method: str) -> dict[str, float]:
    """Return the share kept, in %, by the share removed."""
    own = [row for row in rows("grid") if (row["agent"], row["method"]) == (agent, method)]
    return {row["removed"]: float(row["kept"].split("%")[0]) for row in own}


def test_the_steps_of_a_row_are_those_of_the_study(page, tmp_path):
    grid = load_compression(conf_dir() / "sweep" / "compression.yaml")
    (tmp_path / "model.zip").touch()
    found = {}
    for level in levels(grid):
        if level.seed == 0 and level.sparsity == 0.9 and level.agent in grid.agents:
            words = compressing(grid, level, str(tmp_path / "model.zip"), str(tmp_path))
            found[level.agent, level.method] = f"{compress.parse_words(words)[1].total_steps():,}"
    assert found["lunarlander", "prune"] == "5,000" and found["hopper", "prune"] == "20,000"
    told = f"({found['lunarlander', 'prune+int8']} in the place of 5,000, {found['hopper', 'prune+int8']} of 20,000)"
    assert told in page


def test_what_levels_take_is_what_the_rows_say(page):
    floats, both = (kept_by("halfcheetah of RL Zoo", method) for method in ("pruning", "pruning + int8"))
    less = [floats[share] - both[share] for share in ("50%", "70%", "80%")]
    assert f"keeps {min(less):.1f} to {max(less):.1f} points less of its return where 50 to 80 % go" in page
    assert (
        f"{floats['90%'] - both['90%']:.1f} less at 90 %, and no less at 95 %" in page and both["95%"] >= floats["95%"]
    )
    pruned, rounded = (kept_by("minatar breakout", method) for method in ("pruning", "pruning + int8"))
    assert f"{pruned['90%']:.0f} to {rounded['90%']:.0f} % at 90 % and {pruned['95%']:.0f} to {rounded['95%']:.0f} % at 95 %" in page  # fmt: skip


def test_the_weights_that_are_left_of_the_lander(page):
    shapes = [(64, 8), (64, 64), (4, 64)]
    assert f"falls at 99 %, where {sum(kept_counts(shapes, 0.99))} weights are left" in page


def test_what_helped_is_what_the_recipes_say(page):
    cheetah, walker = ([row for row in rows("recipes") if row["network"] == name] for name in ("HalfCheetah", "Walker2d"))  # fmt: skip
    kept = [float(row["return kept, %"]) for row in cheetah]
    assert f"go early ({kept[1] - kept[0]:.1f} points), a higher rate ({kept[2] - kept[1]:.1f})" in page
    assert f"in each of 40 rounds ({kept[5] - kept[2]:.1f})" in page
    fvu = [[float(row["behavior FVU"]) for row in own[-2:]] for own in (cheetah, walker)]
    smaller = [f"{1 - last / before:.0%}".replace("%", " %") for before, last in fvu]
    assert f"make the behavior FVU {smaller[0]} smaller on HalfCheetah and {smaller[1]} on Walker2d" in page
    points = [float(own[-1]["return kept, %"]) - float(own[-2]["return kept, %"]) for own in (cheetah, walker)]
    assert f"buy {points[0]:.0f} and {points[1]:.0f} points" in page


def test_what_scales_cost_is_what_their_tables_say(page):
    size = {(row["weights"], row["int8 of"]): int(row["file, bytes"]) for row in rows("int8")}
    more = [size[w, "weights, a scale per channel"] - size[w, "weights, a scale per matrix"] for w in ("90 % pruned", "all")]  # fmt: skip
    assert f"costs {more[0]:,} bytes of file at 90 % pruned, {more[1]:,} unpruned" in page
    means = {}
    for row in rows("scales"):
        kept = [row[f"return kept by a scale per {one}, %"].split(",") for one in ("matrix", "channel")]
        means[row["removed"]] = [sum(map(float, seeds)) / len(seeds) for seeds in kept]
    cost = {removed: channel - matrix for removed, (matrix, channel) in means.items()}
    few = [cost[removed] for removed in ("50%", "70%", "80%")]
    assert f"costs HalfCheetah {int(min(few))} to {max(few):.0f} points of its return" in page
    assert f"{cost['90%']:.0f} at 90 %, and nothing at 95 %" in page and abs(cost["95%"]) < 1


def test_settings_that_have_a_name_are_those_of_that_name(page):
    settings = dataclasses.asdict(compress.parse_words(["--env", "InvertedDoublePendulum-v5"])[1])["model"]["sac"]
    told = "Stable-Baselines3's but for 10,000 steps before it learns and a weight decay of 0.0001"
    assert told in page and settings["learning_starts"] == 10_000
    assert settings["policy_kwargs"]["optimizer_kwargs"] == {"weight_decay": 1e-4}


def test_rows_that_were_run_to_their_end_are_named(page):
    full = {row["network"].split()[0] for row in rows("learned")} | {"minatar"}
    told = page.partition("Only the rows of ")[2].partition(" have been run to their end")[0]
    assert {name.strip().lower() for name in told.replace(" and ", ", ").split(",")} == full
