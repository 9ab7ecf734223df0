"""A checkpoint knows its pool by content: other policies are refused with the first difference, old files are read."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from lightning_pz.common.errors import UserError
from lightning_pz.envs.specs import env_spec
from lightning_pz.policy import Layout
from lightning_pz.pool.of_checkpoint import check_same_pool, describe_pool, is_pool_of, open_pool_of
from lightning_pz.pool.recipe import RandomRecipe, collect
from lightning_pz.pool.states import StateCounts

STATES = StateCounts(probe=16, train=24, val=12, test=12, source="uniform")
ALL = RandomRecipe(candidates=60, keep=1.0, neighbors=5, states=STATES)
"""Keeps every candidate, so that `indices` are 0..59 whatever the weights are."""


def describe(pool):
    """What the DataModule hands to a model, as far as the pool is concerned."""
    repeated = {key: pool.meta[key] for key in ("env", "layout", "prior", "observation_mean", "observation_std")}
    probe = pool.arrays["states"][: pool.meta["states"]["probe"]]
    return {**repeated, "probe_states": probe.tolist(), "pool": describe_pool(pool)}


def as_of_old(description, name):
    """The same in a checkpoint from before pools had an identity: the digest of one array."""
    env = {key: value for key, value in description["env"].items() if key not in ("kwargs", "source")}
    pool = {"folder": description["pool"]["folder"], "digest": description["pool"]["identity"]["arrays"][name]}
    return description | {"env": env, "pool": pool}


@pytest.fixture(scope="module")
def kept_all(tmp_path_factory, car, layout):
    return collect(tmp_path_factory.mktemp("all") / "pool", car, layout, ALL, progress=False)


OTHERS = {
    "seed": (dataclasses.replace(ALL, seed=1), (8, 8), "seed"),
    "prior": (dataclasses.replace(ALL, prior=dataclasses.replace(ALL.prior, gain=2.0)), (8, 8), "prior.gain"),
    "layout": (ALL, (9, 8), "layout.hidden"),
}


@pytest.mark.parametrize("change", OTHERS)
def test_pools_of_the_same_indices_are_told_apart(change, kept_all, tmp_path, car):
    recipe, hidden, place = OTHERS[change]
    other = collect(tmp_path / "pool", car, Layout(2, hidden, 1), recipe, progress=False)
    assert np.array_equal(other.arrays["indices"], kept_all.arrays["indices"]) and other.digest != kept_all.digest
    with pytest.raises(UserError, match=f"another pool .*{place}"):
        check_same_pool(other, describe(kept_all))
    with pytest.raises(UserError, match="another pool"):
        check_same_pool(other, as_of_old(describe(kept_all), "indices"))
    assert not is_pool_of(other, describe(kept_all))


def test_the_same_pool_made_again_or_with_weights_stored_is_the_same(kept_all, tmp_path, car, layout):
    for name, recipe in {"again": ALL, "stored": dataclasses.replace(ALL, store="params")}.items():
        other = collect(tmp_path / name, car, layout, recipe, progress=False)
        assert other.digest == kept_all.digest
        check_same_pool(other, describe(kept_all))
        check_same_pool(other, as_of_old(describe(kept_all), "indices"))


def test_old_checkpoints_know_folders_of_old_and_new_pools(kept_all, tmp_path):
    old = as_of_old(describe(kept_all), "indices")
    folder = shutil.copytree(kept_all.folder, tmp_path / "old")
    meta = json.loads((folder / "pool.json").read_text())
    del meta["env"]["kwargs"], meta["env"]["source"]
    (folder / "pool.json").write_text(json.dumps(meta))
    assert open_pool_of(old).folder == kept_all.folder and open_pool_of(old, str(folder)).folder == folder


def test_a_pool_that_is_not_there_or_not_told(kept_all, tmp_path):
    with pytest.raises(UserError, match="does not exist here"):
        open_pool_of(describe(kept_all), str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="which policies were held out"):
        open_pool_of({key: value for key, value in describe(kept_all).items() if key != "pool"})


def test_another_numpy_is_noticed_by_whoever_asks_for_weights_first(kept_all):
    other = dataclasses.replace(kept_all, meta=kept_all.meta | {"params_checksum": "of another NumPy"})
    with pytest.raises(UserError, match="draws other numbers"):
        other.params(np.arange(3))
    stored = dataclasses.replace(other, arrays=other.arrays | {"params": np.zeros((60, 105), np.float32)})
    assert len(stored.params(np.arange(3))) == 3  # nothing is drawn


def test_environments_are_told_by_horizon_and_boxes(car, kept_all, tmp_path, layout):
    short = collect(tmp_path / "short", env_spec(car.id, 5), layout, ALL, progress=False)
    with pytest.raises(UserError, match=r"env\.horizon is 5, not 999"):
        check_same_pool(short, describe(kept_all))
