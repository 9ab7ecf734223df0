"""Pools of several sizes on one state sample: their tables, their batches, and what may not stand together."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from lightning_pz.common.errors import UserError
from lightning_pz.envs.presets import EnvConfig, PolicyConfig
from lightning_pz.policy import Layout
from lightning_pz.pool.borrowed import on_states_of
from lightning_pz.pool.datamodule import PolicyPoolDataModule
from lightning_pz.pool.recipe import RandomRecipe, collect
from lightning_pz.pool.several import given_folders, split_pool
from tests.conftest import SMALL_STATES


@pytest.fixture(scope="module")
def narrow(tmp_path_factory, car):
    """Make a pool of smaller policies, with states and statistics of its own."""
    states = dataclasses.replace(SMALL_STATES, test=20, source="rollouts", episodes=4)
    recipe = RandomRecipe(candidates=150, neighbors=5, states=states, seed=4)
    return collect(tmp_path_factory.mktemp("narrow") / "narrow", car, Layout(2, (3,), 1), recipe, progress=False)


def make(pools, tmp_path, policy=None, **kwargs):
    return PolicyPoolDataModule(
        EnvConfig("car", "MountainCarContinuous-v0"), policy or PolicyConfig("tiny", [8, 8]), logs=str(tmp_path),
        pool=",".join(str(pool.folder) for pool in pools), batch_size=17, states_per_step=5, steps_per_epoch=7,
        val_share=0.1, test_share=0.1, **kwargs,
    )  # fmt: skip


@pytest.fixture
def both(pool, narrow, tmp_path):
    data = make([pool, narrow], tmp_path)
    data.prepare_data()
    data.setup()
    return data


def test_tables_are_what_the_policies_do_on_the_other_states(pool, narrow, tmp_path):
    seen = on_states_of(narrow, pool, tmp_path)
    raw, rows = torch.from_numpy(pool.arrays["states"].copy()), np.array([0, 7, len(narrow) - 1])
    assert len(raw) == SMALL_STATES.total and not np.allclose(
        narrow.meta["observation_std"], pool.meta["observation_std"]
    )
    # One policy after another, raw observation in, action of the box of Mountain Car (-1 to 1) out.
    for row in rows:
        expected = narrow.network(narrow.params(np.array([row])), raw[None])[0].numpy()
        assert np.allclose(seen.arrays["fingerprints"][row], expected[:16], atol=1e-6)
        assert np.allclose(seen.arrays["actions"][row], expected[16:], atol=5e-4)
    assert seen.digest == narrow.digest and seen.meta["states"] == pool.meta["states"]
    assert torch.equal(seen.params(rows), narrow.params(rows))


def test_tables_are_computed_once_and_not_for_the_same_states(pool, narrow, tmp_path):
    on_states_of(narrow, pool, tmp_path)
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert set(before) == {"fingerprints.npy", "actions.npy", "identity.json"}
    on_states_of(narrow, pool, tmp_path)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert on_states_of(pool, pool, tmp_path / "nothing").arrays["actions"] is pool.arrays["actions"]
    assert not (tmp_path / "nothing").exists()


def test_a_step_takes_as_many_policies_of_each_pool_on_the_same_states(both, pool, narrow):
    batches = list(both.train_dataloader())
    again = list(both.train_dataloader())
    assert all(torch.equal(a.actions, b.actions) for a, b in zip(batches, again, strict=True))
    batch = batches[0]
    assert (
        batch.fingerprints.shape == (17, 16, 1) and batch.actions.shape == (17, 5, 1) and batch.states.shape == (5, 2)
    )
    tables = [one.train.pool.arrays["fingerprints"] for one in both.splits]
    from_first = [any(np.array_equal(own, row) for row in tables[0]) for own in batch.fingerprints.numpy()]
    assert from_first == [True] * 9 + [False] * 8
    raw = batch.states * pool.network.observation_std + pool.network.observation_mean
    for place in (9, 16):
        (row,) = np.flatnonzero([np.array_equal(batch.fingerprints[place], one) for one in tables[1]])[:1]
        expected = narrow.network(narrow.params(np.array([row])), raw[None])[0]
        torch.testing.assert_close(batch.actions[place], expected, atol=1e-3, rtol=1e-3)


def test_held_out_policies_come_pool_by_pool(both, pool, narrow):
    sizes = [sum(len(batch.fingerprints) for batch in loader) for loader in both.val_dataloader()]
    assert sizes == [len(both.splits[0].val), len(both.splits[1].val)] * 2
    assert sizes[:2] == [round(0.1 * len(pool)), round(0.1 * len(narrow))]
    for loader, split in zip(both.test_dataloader(), both.splits, strict=True):
        (batch,) = loader
        torch.testing.assert_close(batch.mean_actions, split.test.all_actions().mean(0))
    latents = list(both.latent_dataloader(30))
    assert sum(len(batch.fingerprints) for batch in latents) == both.latent_policies(30) == 30


def test_visited_states_are_shown_as_the_first_pool_shows_them(pool, narrow, tmp_path):
    visited = np.random.default_rng(0).normal(size=(len(narrow), 3, 2)).astype(np.float32) * 0.1
    seen = on_states_of(narrow, pool, tmp_path)
    seen = dataclasses.replace(seen, arrays={**seen.arrays, "visited": visited})
    split = split_pool(seen, pool, {"val_share": 0.1, "test_share": 0.1, "split_seed": 0}, with_visited=True)
    batch = split.train[(np.arange(4), np.arange(2))]
    rows = split.train.rows[:4]
    raw = torch.from_numpy(visited[rows])
    torch.testing.assert_close(batch.visited, pool.network.standardize(raw))
    torch.testing.assert_close(batch.visited_actions, narrow.network(narrow.params(rows), raw), atol=1e-6, rtol=1e-5)


def test_what_a_checkpoint_keeps_of_further_sizes(both, pool, narrow, tmp_path):
    description = both.description()
    (other,) = description["others"]
    assert (
        other["policy"] == "3"
        and other["pool"]["digest"] == narrow.digest
        and description["pool"]["digest"] == pool.digest
    )
    assert other["observation_std"] == narrow.meta["observation_std"] and other["layout"]["hidden"] == [3]
    assert both.pool_identity()["others"][0]["layout"]["hidden"] == [3]
    one = make([pool], tmp_path, decodes="small, 6-5")
    one.setup()
    assert "others" not in make([pool], tmp_path).pool_identity() and "decodes" not in both.pool_identity()
    small, widths = one.description()["others"]
    assert (small["policy"], small["layout"]["hidden"], small["pool"]) == ("small", [2], None)
    assert (widths["policy"], widths["layout"]["hidden"]) == ("6-5", [6, 5])
    assert small["observation_mean"] == pool.meta["observation_mean"] and small["prior"] == pool.meta["prior"]


def test_a_folder_with_a_comma_in_its_name_is_one(pool, tmp_path):
    shutil.copytree(pool.folder, tmp_path / "a,b")
    assert given_folders(str(tmp_path / "a,b")) == [tmp_path / "a,b"]
    assert [path.name for path in given_folders("a/b, c")] == ["b", "c"]


@pytest.mark.parametrize(
    ("decodes", "told"),
    [
        ("8-8", r"--decodes 8-8 has the size '8-8', hidden widths \[8, 8\] .*, but the size 'tiny'"),
        ("small,2", r"--decodes 2 has the size '2'.* 'small'"),
        ("3", r"--decodes 3 has the size '3'.*, but the size '3'"),
        ("smal", r"--decodes expects .*small.*'smal'. Did you mean 'small'\?"),
        ("8-0", "--decodes expects .*'8-0'"),
        ("small,", "--decodes expects .*''"),
    ],
)
def test_sizes_that_are_there_already_are_refused(decodes, told, pool, narrow, tmp_path):
    with pytest.raises(UserError, match=told):
        make([pool, narrow], tmp_path, decodes=decodes).check_sizes()


def test_pools_that_do_not_go_together_are_refused(pool, narrow, tmp_path):
    with pytest.raises(UserError, match=r"has the size '3', .* is there already"):
        make([pool, narrow, narrow], tmp_path).check_sizes()
    for key, value, told in (
        ("env", narrow.meta["env"] | {"id": "Pendulum-v1"}, "pools of one environment, MountainCarContinuous-v0"),
        ("layout", narrow.meta["layout"] | {"head": {"kind": "gaussian"}}, "pools of one kind of head"),
    ):
        shutil.copytree(narrow.folder, tmp_path / key)
        meta = json.loads((tmp_path / key / "pool.json").read_text()) | {key: value}
        (tmp_path / key / "pool.json").write_text(json.dumps(meta))
        other = dataclasses.replace(narrow, folder=tmp_path / key)
        with pytest.raises(UserError, match=told):
            make([pool, other], tmp_path).check_sizes()
