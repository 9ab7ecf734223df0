"""A pool on disk is whole, unaltered and the one asked for, or refused with a sentence."""

import dataclasses
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from lightning_pz.common.errors import UserError
from lightning_pz.common.files import new_folder
from lightning_pz.envs.specs import env_spec
from lightning_pz.policy import Layout, act_shared, draw_params
from lightning_pz.pool import recipe as recipe_module
from lightning_pz.pool.recipe import collect
from lightning_pz.pool.recipe_identity import check_pool
from lightning_pz.pool.store import read_pool


@pytest.fixture
def copy(pool, tmp_path):
    return shutil.copytree(pool.folder, tmp_path / "copy")


def test_pool_holds_what_its_policies_do(pool, recipe, layout):
    params = pool.params(np.arange(len(pool)))
    states = pool.network.standardize(torch.from_numpy(np.array(pool.arrays["states"])))
    actions = act_shared(layout, params, states)
    torch.testing.assert_close(actions[:, :16], torch.from_numpy(np.array(pool.arrays["fingerprints"])))
    stored = torch.from_numpy(np.array(pool.arrays["actions"], dtype=np.float32))
    torch.testing.assert_close(actions[:, 16:], stored, atol=5e-4, rtol=5e-4)
    assert len(pool) == round(0.5 * pool.meta["distinct"])
    assert pool.meta["novelty_contrast"] > 1


def test_kept_are_the_most_novel_of_all_candidates(pool, recipe, layout):
    from sklearn.neighbors import NearestNeighbors

    probe = pool.network.standardize(torch.from_numpy(np.array(pool.arrays["states"][:16])))
    everyone = draw_params(recipe.prior, layout, recipe.seed, range(recipe.candidates))
    points = act_shared(layout, everyone, probe).flatten(1).double().numpy()
    distances, _ = NearestNeighbors(n_neighbors=recipe.neighbors).fit(points).kneighbors()
    expected = np.sort(np.argsort(-distances.mean(1), kind="stable")[: len(pool)])
    assert len(set(expected) & set(pool.arrays["indices"].tolist())) >= 0.98 * len(pool)


def test_stored_and_regenerated_weights_are_equal(tmp_path, car, layout, recipe, pool):
    stored = collect(tmp_path / "stored", car, layout, dataclasses.replace(recipe, store="params"), progress=False)
    rows = np.array([0, 7, len(pool) - 1])
    assert torch.equal(stored.params(rows), pool.params(rows))
    assert "params" in stored.arrays and "params" not in pool.arrays


def test_same_recipe_same_pool(tmp_path, car, layout, recipe, pool):
    again = collect(tmp_path / "again", car, layout, recipe, progress=False)
    digests = [{name: a["sha256"] for name, a in p.meta["arrays"].items()} for p in (again, pool)]
    assert digests[0] == digests[1]


def test_a_folder_may_be_text(pool):
    opened = read_pool(str(pool.folder))
    assert opened.folder == pool.folder and opened.digest == pool.digest


@pytest.mark.parametrize("name", ["actions", "fingerprints", "indices", "states", "novelty"])
def test_missing_truncated_or_altered_arrays_are_refused(copy, name):
    path = copy / f"{name}.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-4] + bytes(byte ^ 255 for byte in content[-4:]))
    with pytest.raises(UserError, match="altered"):
        read_pool(copy)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="cut off"):
        read_pool(copy)
    np.save(path, np.zeros(3))
    with pytest.raises(UserError, match="should hold"):
        read_pool(copy)
    path.unlink()
    with pytest.raises(UserError, match="missing"):
        read_pool(copy)


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"format_version": 99}, "format 99"),
        ({"layout": {"sizes": 3}}, "no known layout"),
        ({"env": None, "arrays": {}}, "lacks"),
    ],
)
def test_foreign_descriptions_are_refused(copy, change, sentence):
    path = copy / "pool.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=sentence):
        read_pool(copy)


@pytest.mark.parametrize("text", ["", "[1]", "{}", "\x00"])
def test_garbage_descriptions_are_refused(copy, text):
    (copy / "pool.json").write_text(text)
    with pytest.raises(UserError, match="no pool description"):
        read_pool(copy)


def test_no_pool_at_all(tmp_path):
    with pytest.raises(UserError, match=r"pool.json"):
        read_pool(tmp_path)


def test_other_environment_or_layout_is_refused(pool, car):
    with pytest.raises(UserError, match="--env asks for Pendulum-v1"):
        check_pool(pool, env_spec("Pendulum-v1"), pool.layout)
    with pytest.raises(UserError, match="--policy asks"):
        check_pool(pool, car, Layout(2, (9,), 1))


def test_other_generator_is_noticed(pool):
    pool.check_regeneration()
    other = dataclasses.replace(pool, meta=pool.meta | {"seed": 1})
    with pytest.raises(UserError, match="draws other numbers"):
        other.check_regeneration()


def test_full_disk_leaves_nothing(tmp_path, car, layout, recipe, monkeypatch):
    def no_space(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(recipe_module, "write_array", no_space)
    with pytest.raises(UserError, match="disk is full"):
        collect(tmp_path / "full", car, layout, recipe, progress=False)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_too_little_space_is_refused_before_the_work(tmp_path):
    with pytest.raises(UserError, match="GB free"), new_folder(tmp_path / "pool", 10**18):
        pass
    assert not list(tmp_path.iterdir())


def test_killed_collection_leaves_no_pool_and_the_next_run_makes_it(tmp_path, car, layout, recipe):
    folder = tmp_path / "pool"
    script = f"""
import signal, sys, time
from pathlib import Path
from lightning_pz.envs.specs import env_spec
from lightning_pz.policy import Layout
from lightning_pz.pool import recipe
from lightning_pz.pool.states import StateCounts
def hang(*_):
    print("writing", flush=True)
    time.sleep(60)
recipe.write_meta = hang
recipe.collect(Path({str(folder)!r}), env_spec("MountainCarContinuous-v0"), Layout(2, (8, 8), 1),
    recipe.RandomRecipe(candidates=400, keep=0.5, neighbors=5, states=StateCounts(16, 24, 12, 12, source="uniform")), progress=False)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "writing\n"
    assert list(tmp_path.glob(".pool.*.tmp/actions.npy"))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    time.sleep(0.05)
    assert not folder.exists()
    assert len(collect(folder, car, layout, recipe, progress=False)) > 0
    assert not list(tmp_path.glob("*.tmp"))
