"""Whole climbs of a growth held out together, so that no held-out policy shares its climb with training policies."""

import numpy as np
import pytest

from lightning_pz.common.errors import UserError
from lightning_pz.envs.presets import EnvConfig, PolicyConfig
from lightning_pz.jobs.fit_end import held_out_climbs
from lightning_pz.pool.batches import climbs_of, split_rows
from lightning_pz.pool.datamodule import PolicyPoolDataModule
from tests.pool.test_datamodule import make


def test_whole_climbs_can_be_held_out(grown, pool):
    directions = np.asarray(grown.arrays["directions"])
    parts = split_rows(grown, 0.2, 0.2, 0, "climbs")
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(grown)))
    climbs = [set(directions[rows].tolist()) - {-1} for rows in parts.values()]
    assert all(climbs) and sum(map(len, climbs)) == len(set().union(*climbs))
    sizes = [len(rows) / len(grown) for rows in parts.values()]
    np.testing.assert_allclose(sizes, [0.6, 0.2, 0.2], atol=np.bincount(directions[directions >= 0]).max() / len(grown))
    again, other = split_rows(grown, 0.2, 0.2, 0, "climbs"), split_rows(grown, 0.2, 0.2, 1, "climbs")
    assert all(np.array_equal(parts[name], again[name]) for name in parts)
    assert not np.array_equal(parts["test"], other["test"])
    # Without it siblings are on both sides, and the split is what it always was.
    usual = split_rows(grown, 0.2, 0.2, 0)
    np.testing.assert_array_equal(
        np.concatenate(list(usual.values())), np.random.default_rng(0).permutation(len(grown))
    )
    assert set(directions[usual["train"]].tolist()) & set(directions[usual["test"]].tolist()) - {-1}
    with pytest.raises(UserError, match=r"climbs expects a pool that was grown along directions"):
        split_rows(pool, 0.2, 0.2, 0, "climbs")


def test_policies_that_no_climb_found_are_alone(grown, pool):
    directions, rows = np.asarray(grown.arrays["directions"]), np.arange(len(grown))[::-1]
    climbs = climbs_of(grown, rows)
    assert (directions < 0).sum() > 1
    np.testing.assert_array_equal(climbs[climbs >= 0], directions[rows][directions[rows] >= 0])
    assert len(set(climbs[climbs < 0])) == (directions < 0).sum()
    assert len(set(climbs_of(pool, np.arange(5)))) == 5  # of a random pool all are


def test_the_way_to_hold_out_is_kept_for_later(pool, grown):
    assert "held_out" not in make(pool).description()["pool"]["split"]
    climbs = make(grown, held_out="climbs")
    split = climbs.description()["pool"]["split"]
    np.testing.assert_array_equal(split_rows(grown, **split)["test"], climbs.test.rows)
    directions = np.asarray(grown.arrays["directions"])
    counted = {f"{name}_climbs": len(set(directions[getattr(climbs, name).rows]) - {-1}) for name in ("val", "test")}
    assert held_out_climbs(climbs) == counted and min(counted.values()) > 0 and held_out_climbs(make(grown)) == {}
    with pytest.raises(UserError, match=r"--data.held_out climbs goes with --data.recipe grown"):
        PolicyPoolDataModule(EnvConfig("car", "MountainCarContinuous-v0"), PolicyConfig(), held_out="climbs")
