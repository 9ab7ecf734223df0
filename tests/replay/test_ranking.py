"""A pool is ranked on any task: exactly, deterministically, by a few replays, and once for all who ask."""

import dataclasses
import importlib
import json
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from lightning_pz.common.errors import UserError
from lightning_pz.envs.tasks import find_task
from lightning_pz.pool.best import best_of_pool
from lightning_pz.pool.store import read_pool
from lightning_pz.replay import ranking as module
from lightning_pz.replay.ranking import RankingSettings, find_ranking, rank_pool, ranking_identity
from lightning_pz.replay.replay_episodes import replayed_returns
from tests.replay.conftest import tampered

FEW = RankingSettings(first=24, rounds=2, each=8)


@pytest.fixture
def low(tmp_path, monkeypatch):
    """Return the name of a task that keeps a hopper low, or a car left, in a module of its own."""
    (tmp_path / "keep_low.py").write_text("def low(transition):\n    return -transition.after.positions[:, -1]\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "keep_low", raising=False)  # that of another test
    return "keep_low:low"


@pytest.fixture
def replays(monkeypatch):
    """Return a list that grows by the rows of each replay."""
    rows, original = [], replayed_returns

    def watched(pool, chosen, *arguments, **named):
        rows.append(chosen)
        return original(pool, chosen, *arguments, **named)

    monkeypatch.setattr(module, "replayed_returns", watched)
    return rows


@pytest.mark.parametrize("env_id", ["Hopper-v5", "MountainCarContinuous-v0"])
def test_few_replays_find_what_all_would(env_id, low, grown_pools, replays):
    pool = grown_pools(env_id)
    every = replayed_returns(pool, np.arange(len(pool)), {low: find_task(env_id, low)})[:, 0]
    found = rank_pool(pool, low, settings=FEW, threads=2)
    assert [len(rows) for rows in replays] == [24, 8, 8] and found.replayed == 40 < len(pool)
    assert len(set(np.concatenate(replays).tolist())) == 40 == len(found.rows)
    np.testing.assert_array_equal(found.returns, every[found.rows])
    np.testing.assert_array_equal(found.values[found.rows], every[found.rows])
    assert (np.diff(found.returns) <= 0).all() and found.returns[0] == every.max()
    # The sample was drawn, the others were expected to be good, and everybody else has a prediction.
    assert np.isnan(found.expected).sum() == 24 and np.isfinite(found.values).all() and 0 < found.explained <= 1
    again = rank_pool(pool, low, settings=FEW)
    for name in ("rows", "returns", "expected", "values"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    other = rank_pool(pool, low, settings=dataclasses.replace(FEW, seed=1))
    assert not np.array_equal(np.sort(other.rows), np.sort(found.rows))


def test_a_small_pool_is_replayed_whole(low, grown_pools):
    pool = grown_pools("Hopper-v5")
    found = rank_pool(pool, low)
    assert found.replayed == len(pool) == len(set(found.rows.tolist()))
    np.testing.assert_array_equal(np.sort(found.values)[::-1], found.returns)


def test_a_known_task_takes_no_replay(grown_pools, replays, tmp_path):
    pool = grown_pools("Hopper-v5")
    for found in (rank_pool(pool, "jump"), find_ranking(pool, "jump", tmp_path / "none")):
        np.testing.assert_array_equal(found.rows, best_of_pool(pool, "jump", len(pool)))
        assert found.replayed == 0 and not replays and not (tmp_path / "none").exists()
        assert found.returns[0] == pool.arrays["returns"][:, 3].max() and np.isnan(found.expected).all()


def test_it_is_made_once_and_kept_by_its_content(low, grown_pools, replays, tmp_path):
    pool, folder = grown_pools("Hopper-v5"), tmp_path / "rankings"
    found = find_ranking(pool, low, folder)
    count = len(replays)
    # The same pool elsewhere, in a folder that nobody may write to.
    moved = shutil.copytree(pool.folder, tmp_path / "moved")
    moved.chmod(0o555)
    again = find_ranking(read_pool(moved), low, folder)
    moved.chmod(0o755)
    assert len(replays) == count and again.replayed == found.replayed and again.explained == found.explained
    np.testing.assert_array_equal(again.rows, found.rows)
    (kept,) = folder.glob("*.npz")
    kept.write_bytes(kept.read_bytes()[:100])
    np.testing.assert_array_equal(find_ranking(pool, low, folder).rows, found.rows)
    assert len(replays) == 2 * count
    before = ranking_identity(pool, low)
    (tmp_path / "keep_low.py").write_text("def low(transition):\n    return transition.after.positions[:, -1]\n")
    assert ranking_identity(pool, low) == before  # what is loaded decides
    del sys.modules["keep_low"]
    importlib.invalidate_caches()
    assert ranking_identity(pool, low) != before and json.dumps(before)


def test_bad_tasks_and_pools_are_refused(low, pool, grown_pools, tmp_path):
    (tmp_path / "keep_low.py").write_text(
        "def low(transition):\n    return transition.rewards * float('nan')\n\n"
        "def wide(transition):\n    return transition.observations\n\n"
        "def raises(transition):\n    return 1 / 0\n"
    )
    hopper = grown_pools("Hopper-v5")
    for task, sentence in (
        ("keep_low:low", "task 'keep_low:low' gave a reward that is not finite, nan, in step 1"),
        ("keep_low:wide", r"must return one reward per simulation.* but returned shape \(80, 11\)"),
        ("keep_low:raises", "raised ZeroDivisionError"),
        ("keep_low:gone", "has no such function"),
        ("crouch", "expects tasks of Hopper-v5"),
    ):
        with pytest.raises(UserError, match=sentence):
            find_ranking(hopper, task, tmp_path / "rankings")
    assert not list((tmp_path / "rankings").glob("*.npz"))
    with pytest.raises(UserError, match="is a random pool"):
        find_ranking(pool, "keep_low:low", tmp_path / "rankings")


def test_of_two_who_ask_at_once_one_replays(low, grown_pools, monkeypatch, tmp_path):
    pool, made, original = grown_pools("Hopper-v5"), [], rank_pool

    def slow(*arguments, **named):
        made.append(1)
        time.sleep(0.3)
        return original(*arguments, **named)

    monkeypatch.setattr(module, "rank_pool", slow)
    with ThreadPoolExecutor(2) as both:
        one, other = both.map(lambda _: find_ranking(pool, low, tmp_path / "rankings"), range(2))
    np.testing.assert_array_equal(one.rows, other.rows)
    assert len(made) == 1


def test_a_pool_that_knows_no_task_is_ranked_too(grown_pools, tmp_path):
    whole = grown_pools("Hopper-v5")

    def forgets(meta):
        meta["growth"]["tasks"] = []
        meta["arrays"]["returns"]["shape"] = [len(whole), 0]

    pool = tampered(whole, tmp_path / "pool", {"returns": np.empty((len(whole), 0))}, forgets)
    found = find_ranking(pool, "jump", tmp_path / "rankings")
    assert found.replayed == len(whole)
    np.testing.assert_array_equal(found.rows, best_of_pool(whole, "jump", len(whole)))
