"""The exchange study measures real pieces, and its plan counts the passes that thinning out takes."""

import csv

import numpy as np
import pytest

from lightning_pz.common.errors import UserError
from lightning_pz.envs.presets import load_preset
from lightning_pz.growth import archive as archive_module
from lightning_pz.policy import Layout
from sweeps.__main__ import main
from sweeps.exchange import RoundCost, plan, thinning_seconds
from tests.sweeps.test_options import words_for


def test_the_command_leaves_its_tables(tmp_path, capsys):
    main(words_for("exchange", tmp_path))
    folder = tmp_path / "logs" / "sweeps" / "exchange"
    assert capsys.readouterr().out.strip().splitlines()[-1] == str(folder)
    with (folder / "round.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["pieces"]) for row in rows] == [1, 2, 4, 8, 16]
    returned = [float(row["MB returned"]) for row in rows]
    # 512 policies with their weights in float32, outcomes and states, and a little for each piece.
    weights = Layout(2, tuple(load_preset("policy", "small")["policy"]["hidden"]), 1).num_params
    assert 512 * 4 * weights / 1e6 < returned[0] < returned[-1] < 2 * returned[0]
    with (folder / "plan.csv").open() as file:
        planned = list(csv.DictReader(file))
    assert float(planned[0]["GB returned"]) == pytest.approx(returned[-1] / 1000, rel=1e-6)
    assert float(planned[-1]["GB returned"]) == pytest.approx(625 * returned[-1] / 1000, rel=1e-6)


def test_thinning_out_is_counted_as_it_happens(monkeypatch):
    seen, original = [], archive_module.nearest_others
    monkeypatch.setattr(
        archive_module, "nearest_others", lambda points, *more: seen.append(len(points)) or original(points, *more)
    )
    archive_module.thin_out(np.random.default_rng(0).standard_normal((1000, 5)), 700)
    assert thinning_seconds(1000, 700, 1.0) == pytest.approx(sum(np.square(seen)))


def test_what_waits_is_not_busy():
    one = RoundCost(16, 5000, 10**6, 32 * 10**6, 0.1, 3.0, 40.0, 0.1, 1.0, 0.2)
    rows = plan(one, 20_000, 0.0).rows
    assert rows[0][1:6] == [0.032, 3.0, pytest.approx(0.1), 0.0, pytest.approx(0.8)]
    assert rows[-1][3] == pytest.approx(62.5) and rows[0][-1] == "77 %"


def test_bad_numbers_of_the_exchange():
    with pytest.raises(UserError, match="--generations expects at least 1, but got 0"):
        main(["exchange", "--generations", "0"])
