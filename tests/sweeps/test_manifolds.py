"""Estimators on manifolds of known dimension: within their documented bias, and the same again."""

import csv
from pathlib import Path

import numpy as np
import pytest

from lightning_pz.common.errors import UserError
from sweeps.__main__ import main
from sweeps.manifolds import MANIFOLDS, NOISES, measure_manifolds


@pytest.fixture(scope="module")
def rows():
    return measure_manifolds(MANIFOLDS, NOISES, points=2000, clouds=1, seed=11, progress=False)


@pytest.mark.slow
def test_every_estimate_is_within_its_documented_bias(rows):
    assert len(rows) == len(MANIFOLDS) * len(NOISES)
    assert {(row.manifold.name, row.noise): row.outside() for row in rows if row.outside()} == {}
    for row in rows:
        assert len(row.documented) == 6
        assert all(0 <= error < 0.05 * row.manifold.dimension + 0.15 for _, error, _ in row.estimates.values())


def test_documented_bias_is_no_blank_check():
    for manifold in MANIFOLDS:
        for low, high in (*manifold.near, *manifold.wide):
            assert low <= high <= 95 and high - low <= 70
        # Without noise, small dimensions are told to a sixth.
        if manifold.dimension <= 5:
            assert all(-16 < edge < 16 for edge in (*manifold.near[0], *manifold.wide[0]))


def test_spectral_measures_count_the_span(rows):
    spans = {"linear 5": 5, "sphere 5": 6, "torus 3": 6, "cube 20": 20}
    for row in rows:
        if row.noise == 0 and (span := spans.get(row.manifold.name)):
            value, error, _ = row.estimates["participation_ratio"]
            # Biased low by its square over the number of points.
            assert value == pytest.approx(span * (1 - span / 2000), abs=5 * error + 0.02)


def test_noise_counts_most_at_the_smallest_scale(rows):
    roll = {row.noise: row.estimates for row in rows if row.manifold.name == "Swiss roll 2"}
    grown = [roll[0.05][name][0] - roll[0.0][name][0] for name in ("gride_1", "gride_4", "gride_16")]
    assert grown[0] > grown[1] > grown[2]


def test_the_same_seed_gives_the_same_table(rows):
    again = measure_manifolds(MANIFOLDS[2:3], NOISES[:1], points=200, clouds=2, seed=3, progress=False)
    assert again == measure_manifolds(MANIFOLDS[2:3], NOISES[:1], points=200, clouds=2, seed=3, progress=False)
    assert again != measure_manifolds(MANIFOLDS[2:3], NOISES[:1], points=200, clouds=2, seed=4, progress=False)
    assert np.isfinite(again[0].estimates["two_nn"][2])


@pytest.mark.slow
def test_the_command_leaves_its_tables(tmp_path, capsys):
    main(["manifolds", "--points", "120", "--clouds", "2", "--seed", "3", "--logs", str(tmp_path)])
    folder = Path(capsys.readouterr().out.strip().splitlines()[-1])
    # The table of the default options is not overwritten.
    assert folder.parent == tmp_path / "sweeps" and folder.name.startswith("manifolds-")
    with (folder / "table.csv").open() as file:
        found = list(csv.DictReader(file))
    assert len(found) == 24 and float(found[0]["two_nn"]) > 0
    assert (folder / "table.md").read_text().count("\n| ") == 25


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--points", "many"], "--points expects a whole number, but got 'many'"),
        (["--points", "109"], "--points expects at least 110, but got 109"),
        (["--clouds", "0"], "--clouds expects at least 1"),
        (["--seed", "-1"], "--seed expects at least 0"),
        (["--env", "hopper"], "there is no option --env"),
    ],
)
def test_bad_input(arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        main(["manifolds", *arguments])
