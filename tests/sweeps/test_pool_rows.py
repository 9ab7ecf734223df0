"""What a way to make pools is worth: shares only where they mean something, gaps in units of return elsewhere."""

import csv
import io
from types import SimpleNamespace

import numpy as np
import pytest

from sweeps.pool_rows import pool_numbers, pool_row, pool_table, short_pool_table

FIT = {"test_fvu": 0.1, "pca_fvu": 0.2, "collect_seconds": 3.0}


def row_of(own, gaps, fit=FIT):
    """Return the row of seeds whose 50 best earn `own` and gain `gaps` when encoded and decoded."""
    done = []
    for earned, gap in zip(own, gaps, strict=True):
        values = {
            "reconstruction_gap": gap,
            "best_own_return": earned,
            "best_in_pool_fresh": 9.0,
            "best_latent_fresh": 8.0,
        }
        draws = {name: np.full(20, value) for name, value in values.items()}
        done.append(SimpleNamespace(summary={f"flip/{k}": v for k, v in values.items()}, draws={"flip": draws}))
    return pool_row([fit] * len(done), np.full(len(done), np.nan), done, ["flip"])


def kept(row):
    table = short_pool_table({"way": row})
    (numbers,) = csv.DictReader(io.StringIO(pool_numbers({"way": row}).csv()))
    return dict(zip(table.header, table.rows[0], strict=True))["kept by 50 best, or gap"], numbers


def test_a_loss_that_shrinks_is_a_gain_in_units_of_return():
    told, numbers = kept(row_of([-15.0, -15.0, -16.0, -14.0], [5.0, 5.0, 6.0, 4.0]))
    assert "%" not in told and told == "+5.0 [+3.7, +6.3] of -15.0"
    assert numbers["kept"] == numbers["kept_low"] == "" and numbers["kept_interval"] == "none"
    assert float(numbers["reconstruction_gap"]) == 5 and float(numbers["best_own_return"]) == -15


@pytest.mark.parametrize("own", [[0.5, -0.5, 0.4, -0.3], [3.0, -1.0]])
def test_a_return_near_zero_has_no_share(own):
    assert "%" not in kept(row_of(own, [1.0] * len(own)))[0]


def test_a_clear_return_has_a_share_with_its_interval_or_range():
    told, numbers = kept(row_of([100.0, 110.0, 90.0, 100.0], [-20.0, -22.0, -18.0, -20.0]))
    assert told == "80.0 % [80.0, 80.0]"
    told, numbers = kept(row_of([100.0, 300.0], [-20.0, 60.0]))
    assert told == "110.0 % (80.0 to 120.0)" and numbers["kept_interval"] == "range"
    assert numbers["best_own_return_low"] == "100.0"


def test_pca_is_of_the_test_policies_where_the_fits_have_measured_it_there():
    rows = {"older": row_of([1.0], [0.0]), "newer": row_of([1.0], [0.0], FIT | {"test_pca_fvu": 0.4})}
    older, newer = csv.DictReader(io.StringIO(pool_numbers(rows).csv()))
    assert (older["pca_fvu"], older["pca_policies"], newer["pca_fvu"], newer["pca_policies"]) == (
        "0.2",
        "val",
        "0.4",
        "test",
    )
    assert [line.split("|")[5].strip() for line in pool_table(rows).markdown().splitlines()[2:]] == [
        "0.200 (val)",
        "0.400",
    ]
