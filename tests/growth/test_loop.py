"""A growth repeats, resumes to the same pool, stays within its steps, and hears of no reward."""

import dataclasses
import json

import gymnasium
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_pz.common.errors import UserError
from lightning_pz.envs import tasks as task_module
from lightning_pz.envs.simulators.classic import MountainCarSimulator
from lightning_pz.envs.specs import env_spec
from lightning_pz.growth import loop as loop_module
from lightning_pz.growth import resume
from lightning_pz.growth.loop import grow
from lightning_pz.growth.playing import GenerationPlayer
from lightning_pz.growth.resume import working_folder
from lightning_pz.growth.rounds import Grower
from lightning_pz.policy import Layout, act_shared
from lightning_pz.pool.best import best_of_pool
from lightning_pz.pool.recipe import collect
from lightning_pz.pool.recipe_identity import library_versions, pool_folder
from lightning_pz.pool.store import read_pool

BEHIND = {"returns"}
"""The only array that task rewards may reach."""


def digests(pool, without=()):
    return {name: a["sha256"] for name, a in pool.meta["arrays"].items() if name not in without}


def timeless(pool):
    return {k: v for k, v in pool.meta["growth"].items() if k != "seconds"}


@pytest.mark.slow
def test_the_same_recipe_grows_the_same_pool_and_threads_do_not_matter(grown, tmp_path, car, layout, grown_recipe):
    again = grow(tmp_path / "again", car, layout, dataclasses.replace(grown_recipe, threads=2), progress=False)
    assert digests(again) == digests(grown) and timeless(again) == timeless(grown)
    other = grow(tmp_path / "other", car, layout, dataclasses.replace(grown_recipe, seed=1), progress=False)
    assert digests(other)["params"] != digests(grown)["params"]


def test_it_goes_on_after_a_kill_to_the_same_pool(grown, tmp_path, car, layout, grown_recipe, monkeypatch):
    folder, original, calls = tmp_path / "pool", GenerationPlayer.play, []

    def dies(self, *arguments, **named):
        calls.append(1)
        if len(calls) in (7, 11):
            raise SystemExit  # nothing is saved on the way out: as good as killed
        return original(self, *arguments, **named)

    monkeypatch.setattr(GenerationPlayer, "play", dies)
    for _ in range(2):
        with pytest.raises(SystemExit):
            grow(folder, car, layout, grown_recipe, progress=False)
        assert not folder.exists() and list(working_folder(folder).glob("round-*"))
    with monkeypatch.context() as patch:

        def dies_at_the_end(*_):
            raise SystemExit

        patch.setattr(loop_module.report, "write_figures", dies_at_the_end)
        with pytest.raises(SystemExit):
            grow(folder, car, layout, grown_recipe, progress=False)
    resumed = grow(folder, car, layout, grown_recipe, progress=False)
    assert digests(resumed) == digests(grown) and timeless(resumed) == timeless(grown)
    assert not working_folder(folder).exists()
    assert {path.name for path in tmp_path.iterdir()} == {"pool", ".pool.lock"}


@pytest.mark.slow
def test_no_reward_reaches_the_search(grown, tmp_path, car, layout, grown_recipe, monkeypatch):
    """All task functions and the environment's own reward are poisoned: the same pool but for its report."""
    generator = np.random.default_rng(0)

    def poison(transition):
        return generator.choice([np.nan, np.inf, -1e9, 1e9], size=len(transition.rewards))

    names = task_module.TASKS["MountainCarContinuous"]
    monkeypatch.setitem(task_module.TASKS, "MountainCarContinuous", dict.fromkeys(names, poison))
    step = MountainCarSimulator.step
    monkeypatch.setattr(
        MountainCarSimulator, "step", lambda self, a, b: (t := step(self, a, b))._replace(rewards=poison(t))
    )
    poisoned = grow(tmp_path / "poisoned", car, layout, grown_recipe, progress=False)
    assert digests(poisoned, BEHIND) == digests(grown, BEHIND)
    assert digests(poisoned)["returns"] != digests(grown)["returns"]
    silent = grow(tmp_path / "silent", car, layout, grown_recipe, tasks={}, progress=False)
    assert digests(silent, BEHIND) == digests(grown, BEHIND)


def test_steps_are_counted_exactly_and_stay_within_the_budget(tmp_path, car, layout, grown_recipe, monkeypatch):
    taken, step = [], MountainCarSimulator.step
    monkeypatch.setattr(MountainCarSimulator, "step", lambda self, a, b: (taken.append(len(b)), step(self, a, b))[1])
    pool = grow(tmp_path / "pool", car, layout, grown_recipe, progress=False)
    growth = pool.meta["growth"]
    assert growth["steps"] == sum(taken) <= grown_recipe.steps
    assert growth["steps"] + grown_recipe.round_cost(car.horizon) > grown_recipe.steps
    assert growth["played"] == 40 + growth["rounds"] * 4 * 4 * 4


def test_the_pool_says_where_everything_came_from(grown, grown_recipe, layout, car):
    arrays, growth = grown.arrays, grown.meta["growth"]
    assert len(grown) <= grown_recipe.size and {0, 1, 2} >= set(np.unique(arrays["origins"]).tolist())
    assert 2 in arrays["origins"] and 1 in arrays["origins"]
    drawn = arrays["origins"] == 0
    assert (arrays["directions"][drawn] == -1).all() and (arrays["rounds"][drawn] == 0).all()
    found = ~drawn
    assert (arrays["directions"][found] // 4 + 1 == arrays["rounds"][found]).all()
    assert arrays["functionals"].shape == (4 * growth["rounds"], len(growth["outcome_names"]))
    states = grown.network.standardize(torch.from_numpy(np.array(arrays["states"])))
    actions = act_shared(layout, grown.params(np.arange(len(grown))), states)
    torch.testing.assert_close(actions[:, :16], torch.from_numpy(np.array(arrays["fingerprints"])))
    # Half of each part of the state sample was visited by kept policies, and no policy gives to two parts.
    parts = []
    for start, count in ((0, 16), (16, 24), (40, 12), (52, 12)):
        visited = arrays["states"][start : start + count // 2]
        owners = [set(np.flatnonzero((arrays["visited"] == state).all(-1).any(1)).tolist()) for state in visited]
        assert all(owners)
        parts.append(set().union(*(owner for owner in owners if len(owner) == 1)))
    assert sum(map(len, parts)) == len(set().union(*parts))


def test_climbing_goes_somewhere(grown, tmp_path, car, layout, grown_recipe):
    """Found policies lie further along their own directions than any random policy did."""
    arrays, history = grown.arrays, grown.meta["growth"]["history"]
    further = 0
    for number, functional in enumerate(arrays["functionals"]):
        reach = arrays["outcomes"] @ functional
        own = arrays["directions"] == number
        further += own.any() and reach[own].max() > reach[arrays["origins"] == 0].max()
    assert further >= len(arrays["functionals"]) / 2
    assert history[-1]["coverage"] > history[0]["coverage"]


def test_events_and_figures(grown):
    events = EventAccumulator(str(grown.folder)).Reload()
    scalars = set(events.Tags()["scalars"])
    assert scalars >= {"coverage", "effective_dimension", "kept", "ceiling/standard", "ceiling/height"}
    assert [e.step for e in events.Scalars("coverage")] == [row["steps"] for row in grown.meta["growth"]["history"]]
    assert "outcomes" in events.Tags()["images"]
    for name in ("outcomes", "growth"):
        assert (grown.folder / "figures" / f"{name}.png").stat().st_size > 5000


@pytest.mark.slow
@pytest.mark.parametrize("emitter", ["cmaes", "iso_line"])
def test_another_emitter_grows_another_pool_and_the_usual_one_keeps_its_name(
    grown, grown_recipe, car, layout, tmp_path, emitter
):
    other = dataclasses.replace(grown_recipe, emitter=emitter)
    one, again = (grow(tmp_path / name, car, layout, other, progress=False) for name in ("one", "again"))
    np.testing.assert_array_equal(one.arrays["outcomes"], again.arrays["outcomes"])
    assert len(one.arrays["functionals"]) == (0 if emitter == "iso_line" else len(grown.arrays["functionals"]))
    # The first policies are the same; what was climbed from them is not.
    assert (np.asarray(one.arrays["directions"])[np.asarray(one.arrays["rounds"]) > 0] >= 0).all() == (
        emitter == "cmaes"
    )
    climbed = {pool.folder: np.asarray(pool.arrays["origins"]) > 0 for pool in (one, grown)}
    assert all(rows.any() for rows in climbed.values())
    assert not np.array_equal(
        one.params(np.flatnonzero(climbed[one.folder])[:1]), grown.params(np.flatnonzero(climbed[grown.folder])[:1])
    )
    assert "emitter" not in grown_recipe.identity() and other.identity()["emitter"] == emitter
    places = [pool_folder(tmp_path, "car", "small", car, layout, r) for r in (other, grown_recipe)]
    assert places[0] != places[1]


def test_best_of_pool_is_the_best_of_its_returns(grown, pool):
    returns = grown.arrays["returns"]
    for column, task in enumerate(grown.meta["growth"]["tasks"]):
        best = returns[best_of_pool(grown, task, 10), column]
        np.testing.assert_array_equal(best, np.sort(returns[:, column])[::-1][:10])
        assert returns[best_of_pool(grown, task), column] == [best[0]]
    with pytest.raises(UserError, match="not of 'jump'"):
        best_of_pool(grown, "jump")
    with pytest.raises(UserError, match="random pool"):
        best_of_pool(pool, "standard")


def test_other_recipes_and_settings_are_refused(grown, pool, tmp_path, car, layout, grown_recipe, recipe, monkeypatch):
    with pytest.raises(UserError, match=r"a random pool was asked for, but .* is a grown one"):
        collect(grown.folder, car, layout, recipe, progress=False)
    with pytest.raises(UserError, match=r"a grown pool was asked for, but .* is a random one"):
        grow(pool.folder, car, layout, grown_recipe, progress=False)
    with pytest.raises(
        UserError, match="--steps 900 is less than the first policies and one round may take, 2000 \\+ 3200"
    ):
        grow(tmp_path / "few", car, layout, dataclasses.replace(grown_recipe, steps=900), progress=False)

    def dies(*_):
        raise SystemExit

    monkeypatch.setattr(Grower, "round", dies)
    with pytest.raises(SystemExit):
        grow(tmp_path / "pool", car, layout, grown_recipe, progress=False)
    monkeypatch.undo()
    with pytest.raises(UserError, match="unfinished growth with other settings"):
        grow(tmp_path / "pool", car, layout, dataclasses.replace(grown_recipe, seed=5), progress=False)
    now = library_versions()
    monkeypatch.setattr(resume, "library_versions", lambda: now | {"mujoco": "9.9"})
    with pytest.raises(UserError, match=rf"that other packages began: mujoco is \"{now['mujoco']}\", not \"9.9\""):
        grow(tmp_path / "pool", car, layout, grown_recipe, progress=False)
    monkeypatch.undo()
    (next(working_folder(tmp_path / "pool").glob("round-*")) / "params.npy").write_bytes(b"cut off")
    with pytest.raises(UserError, match="cannot be read"):
        grow(tmp_path / "pool", car, layout, grown_recipe, progress=False)


class _EndsAtOnce(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float64)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        return np.zeros(2), {}

    def step(self, action):
        return np.zeros(2), 0.0, True, False, {}


class _OneStill(_EndsAtOnce):
    """One observation coordinate follows the action, the other never changes."""

    def reset(self, *, seed=None, options=None):
        self.x = np.zeros(2)
        return self.x, {}

    def step(self, action):
        self.x = np.array([float(np.clip(self.x[0] + 0.1 * action[0], -1, 1)), 0.0])
        return self.x, 0.0, False, False, {}


@pytest.fixture
def toys():
    for name, entry in (("EndsAtTheReset", _EndsAtOnce), ("OneStill", _OneStill)):
        gymnasium.register(f"{name}-v0", entry_point=entry, disable_env_checker=True, max_episode_steps=20)
    yield
    for name in ("EndsAtTheReset", "OneStill"):
        del gymnasium.registry[f"{name}-v0"]


def test_episodes_that_end_at_once_are_explained(toys, tmp_path, layout, grown_recipe):
    with pytest.raises(UserError, match="EndsAtTheReset-v0 of 40 random policies are all the same or nearly so"):
        grow(tmp_path / "pool", env_spec("EndsAtTheReset-v0"), layout, grown_recipe, progress=False)


@pytest.mark.slow
def test_a_constant_coordinate_is_left_out_and_said(toys, tmp_path, grown_recipe):
    spec = env_spec("OneStill-v0")
    pool = grow(tmp_path / "pool", spec, Layout(2, (4,), 1), grown_recipe, progress=False)
    assert pool.meta["growth"]["left_out"] == ["mean 1", "length"]
    assert (pool.arrays["functionals"][:, 1:] == 0).all()
    assert read_pool(pool.folder).meta == json.loads((pool.folder / "pool.json").read_text())


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"directions": 3}, "--directions expects an even number"),
        ({"population": 5}, "--population expects an even number"),
        ({"visited": 1.2}, "--visited expects a share"),
        ({"neighbors": 50}, "--neighbors expects fewer"),
        ({"steps": 0}, "--steps expects at least 1"),
        ({"horizon": 0}, "--horizon expects"),
        ({"sigma": float("nan")}, "--sigma expects"),
    ],
)
def test_bad_settings(change, sentence, grown_recipe):
    with pytest.raises(UserError, match=sentence):
        dataclasses.replace(grown_recipe, **change)


@pytest.mark.parametrize("lost, whose", [(0, "the first 40"), (40, r"round 1's \d+")])
def test_policies_that_are_invalid_from_the_first_observation_end_it(
    lost, whose, tmp_path, car, layout, grown_recipe, monkeypatch
):
    """They take no step in the simulator; a growth that counts none for them would never reach its budget."""
    reset, played = MountainCarSimulator.reset, []

    def broken(self, seeds):
        observations = reset(self, seeds)
        # The state sample plays one episode at a time.
        played.extend(seeds if len(seeds) > 12 else ())
        return np.full_like(observations, np.nan) if len(played) > lost and len(seeds) > 12 else observations

    monkeypatch.setattr(MountainCarSimulator, "reset", broken)
    with pytest.raises(UserError, match=f"not one of {whose} policies stayed finite on MountainCar"):
        grow(tmp_path / "pool", car, layout, grown_recipe, progress=False)
    assert not (tmp_path / "pool").exists()
