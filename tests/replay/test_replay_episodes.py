"""Kept policies' episodes are played again bit for bit, and whatever is not the growth's episode is refused."""

import dataclasses

import numpy as np
import pytest

from lightning_pz.common.errors import UserError
from lightning_pz.envs.tasks import find_tasks
from lightning_pz.growth.outcomes import OutcomeObserver, make_embedding
from lightning_pz.replay.replay_episodes import growth_recipe, replay_episodes, replayed_returns
from tests.replay.conftest import tampered

IDS = ["MountainCarContinuous-v0", "Hopper-v5", "odd_environments:EndsByState-v0"]


@pytest.mark.parametrize(("chunk", "threads"), [(256, 1), (7, 2)])
@pytest.mark.parametrize("env_id", IDS)
def test_a_whole_pool_is_what_the_growth_saw(env_id, chunk, threads, grown_pools):
    pool = grown_pools(env_id)
    kept, settings = pool.arrays, pool.meta["growth"]["settings"]
    size, tasks = pool.layout.observation_size, find_tasks(env_id, pool.meta["growth"]["tasks"])
    embedding = make_embedding(settings["outcome"], size, pool.layout.action_size, 8, settings["seed"])
    outcomes = []

    def observe(rows):
        outcomes.append(OutcomeObserver(embedding, pool.network, len(rows), settings["horizon"], 1, 0))
        return outcomes[-1:]

    rows = np.arange(len(pool))
    ends = replay_episodes(pool, rows, observe, chunk=chunk, threads=threads)
    assert (ends.valid.all(), ends.lengths.tolist()) == (True, kept["lengths"].tolist())
    np.testing.assert_array_equal(np.concatenate([one.outcomes() for one in outcomes]), kept["outcomes"])
    np.testing.assert_array_equal(replayed_returns(pool, rows, tasks, threads=threads), kept["returns"])
    assert len(set(kept["rounds"].tolist())) > 2 and len(kept["outcomes"]) > 50


def test_rows_come_in_any_order_and_more_than_once(grown_pools):
    pool = grown_pools("Hopper-v5")
    rows = np.array([50, 3, 3, 20])
    returns = replayed_returns(pool, rows, find_tasks("Hopper-v5", ["jump", "standard"]))
    known = pool.meta["growth"]["tasks"]
    np.testing.assert_array_equal(
        returns, pool.arrays["returns"][rows][:, [known.index(name) for name in ("jump", "standard")]]
    )
    assert replayed_returns(pool, rows[:0], find_tasks("Hopper-v5")).shape == (0, 4)


def test_the_recipe_gives_the_seeds_of_the_growth(grown_pools):
    recipe = growth_recipe(grown_pools("Hopper-v5"))
    assert (recipe.seed, recipe.first, recipe.horizon) == (0, 40, 40)
    assert len({recipe.episode_seed(generation) for generation in range(50)}) == 50


def changed(pool, name, row, amount):
    array = np.array(pool.arrays[name])
    array[row] += amount
    return {name: array}


@pytest.mark.parametrize(
    ("name", "amount", "what"),
    [
        ("params", 1e-3, "policy 11 is not the one"), ("lengths", 1, "its length is another"),
        ("returns", 1e-9, "its return on standard is another"), ("visited", 1e-3, "a state is another"),
        ("indices", 1, "is another"),
    ],
)  # fmt: skip
def test_a_pool_that_was_altered_is_refused(name, amount, what, grown_pools, tmp_path):
    whole = grown_pools("Hopper-v5")
    row = int(np.flatnonzero(np.array(whole.arrays["indices"]) == 39)[0]) if name == "indices" else 11
    pool = tampered(whole, tmp_path / "pool", changed(whole, name, row, amount))
    with pytest.raises(UserError, match=what) as told:
        replay_episodes(pool, np.arange(len(pool)))
    assert "versions are as they were" in str(told.value)
    # The others are what they were.
    replay_episodes(pool, np.delete(np.arange(len(pool)), row))


def test_other_versions_are_named(grown_pools, tmp_path):
    whole = grown_pools("Hopper-v5")

    def older(meta):
        meta["versions"]["mujoco"] = "3.9.0"

    pool = tampered(whole, tmp_path / "pool", changed(whole, "lengths", 0, 1), older)
    with pytest.raises(UserError, match=r"When it was grown, mujoco was 3\.9\.0, and is 4"):
        replay_episodes(pool, np.array([0]))
    # Nothing is refused for a version alone: episodes that are equal are equal.
    replay_episodes(pool, np.array([1]))


def test_tasks_that_cannot_be_imported_any_more_do_not_matter(grown_pools, tmp_path):
    def renamed(meta):
        meta["growth"]["tasks"][1] = "gone_module:crouch"

    pool = tampered(grown_pools("Hopper-v5"), tmp_path / "pool", meta=renamed)
    assert len(replay_episodes(pool, np.arange(5)).lengths) == 5


def test_rewards_that_were_not_finite_in_the_growth_are_no_mismatch(grown_pools, tmp_path):
    pool = grown_pools("odd_environments:NanRewardSometimes-v0")
    returns = pool.arrays["returns"][:, 0]
    assert 0 < np.isnan(returns).sum() < len(returns)
    assert replay_episodes(pool, np.arange(len(pool))).valid.all()
    wrong = np.where(np.isnan(pool.arrays["returns"]), 0, pool.arrays["returns"])
    with pytest.raises(UserError, match="its return on standard"):
        replay_episodes(tampered(pool, tmp_path / "pool", {"returns": wrong}), np.arange(len(pool)))
    with pytest.raises(UserError, match="task 'standard' gave a reward that is not finite, nan, in step 41"):
        replayed_returns(pool, np.arange(len(pool)), find_tasks(pool.meta["env"]["id"]))


def test_random_and_earlier_pools_have_no_episodes(pool, grown_pools, tmp_path):
    with pytest.raises(UserError, match="is a random pool, whose policies were never played"):
        replay_episodes(pool, np.array([0]))

    def earlier(meta):
        del meta["growth"]["settings"]["first"]

    with pytest.raises(UserError, match="earlier version, which did not keep first"):
        replay_episodes(tampered(grown_pools("Hopper-v5"), tmp_path / "one", meta=earlier), np.array([0]))
    whole = grown_pools("Hopper-v5")
    arrays = {name: array for name, array in whole.arrays.items() if name != "lengths"}
    with pytest.raises(UserError, match="which did not keep lengths"):
        replay_episodes(dataclasses.replace(whole, arrays=arrays), np.array([0]))


def test_an_environment_that_has_changed_is_refused(grown_pools):
    """`Faster` stands in for the environment after an edit: the boxes are the same, and the episodes tell."""
    whole = grown_pools("odd_environments:EndsByState-v0")
    env = whole.meta["env"]
    edited = dataclasses.replace(whole, meta=whole.meta | {"env": env | {"id": "odd_environments:Faster-v0"}})
    with pytest.raises(UserError, match="so the environment was changed"):
        replay_episodes(edited, np.arange(len(whole)))
    other = dataclasses.replace(whole, meta=whole.meta | {"env": env | {"id": "Hopper-v5"}})
    with pytest.raises(UserError, match="changed since"):
        replay_episodes(other, np.array([0]))
