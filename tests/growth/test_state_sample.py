"""What the state sample of a grown pool holds out: whole generations, and nothing that another part has seen."""

import dataclasses
import hashlib
import json
import shutil

import gymnasium
import numpy as np
import pytest
import torch

from lightning_pz.common.errors import UserError
from lightning_pz.envs.specs import env_spec
from lightning_pz.growth.archive import Archive
from lightning_pz.growth.loop import grow
from lightning_pz.growth.resume import working_folder
from lightning_pz.growth.state_sample import follow, share_out
from lightning_pz.policy import Layout
from lightning_pz.pool.grown_recipe import GrownRecipe
from lightning_pz.pool.states import SPLITS, StateCounts, StateSample

COUNTS = StateCounts(probe=16, train=64, val=32, test=32, episodes=4)


def parts_of(states, counts):
    return {name: np.asarray(states[span]) for name, span in counts.slices().items()}


def shared(states, counts):
    """Return how many states of each held-out part equal a probe or training state bit by bit."""
    parts = parts_of(states, counts)
    seen = {state.tobytes() for name in ("probe", "train") for state in parts[name]}
    return [sum(state.tobytes() in seen for state in parts[name]) for name in ("val", "test")]


@pytest.fixture(scope="module")
def hopper(tmp_path_factory):
    """A small growth whose episodes soon end, so that many of the kept states are the reset."""
    recipe = GrownRecipe(
        steps=2_000, first=40, size=300, horizon=4, directions=4, population=4, generations=6, own_states=4,
        neighbors=5, threads=1, states=COUNTS, visited=1.0,
    )  # fmt: skip
    spec = env_spec("Hopper-v5")
    return grow(tmp_path_factory.mktemp("hopper") / "pool", spec, Layout(11, (4,), 3), recipe, progress=False), recipe


def test_no_held_out_state_is_a_training_state(hopper):
    pool, _ = hopper
    visited = pool.arrays["visited"]
    # Siblings do share resets, so that a choice by policy would find the same states in several parts.
    assert len(np.unique(visited[:, 0], axis=0)) < len(visited) / 2
    assert shared(pool.arrays["states"], COUNTS) == [0, 0]


def test_every_part_takes_states_of_generations_of_its_own(hopper):
    pool, recipe = hopper
    numbers = np.asarray(pool.arrays["indices"])
    # In the order of play: 40 first policies, then 4 directions of 4 policies, generation after generation.
    by_hand = np.array([0 if n < 40 else 1 + (n - 40) // 16 for n in numbers])
    np.testing.assert_array_equal(recipe.generation_of(numbers), by_hand)
    resets = {}
    for generation, states in zip(by_hand, pool.arrays["visited"], strict=True):
        resets.setdefault(generation, []).append(states)
    givers = []
    for states in parts_of(pool.arrays["states"], COUNTS).values():
        whose = [{g for g, seen in resets.items() if (np.stack(seen) == state).all(-1).any()} for state in states]
        assert all(len(one) == 1 for one in whose)
        givers.append(set().union(*whose))
    assert all(givers) and sum(map(len, givers)) == len(set().union(*givers)) <= by_hand.max() + 1


def test_groups_stay_whole_and_shares_are_kept():
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(101), [500, *generator.integers(50, 200, 100)])
    shares = np.array([128, 1536, 256, 256])
    part = share_out(groups, shares, np.random.default_rng(1))
    assert all(len(np.unique(part[groups == group])) == 1 for group in range(101))
    assert part[0] == 1  # the first policies go where most are wanted
    np.testing.assert_allclose(np.bincount(part) / len(part), shares / shares.sum(), atol=200 / len(part))
    assert not np.array_equal(part, share_out(groups, shares, np.random.default_rng(2)))


@pytest.mark.parametrize("sizes", [[40, 1, 1, 1], [1, 1, 1, 1], [5, 90, 2, 2, 1]])
def test_no_part_is_left_empty(sizes):
    part = share_out(np.repeat(np.arange(len(sizes)), sizes), np.array([1, 50, 5, 5]), np.random.default_rng(0))
    assert np.unique(part).tolist() == [0, 1, 2, 3]


def test_too_few_generations_are_explained():
    with pytest.raises(UserError, match="come from 3 generations, too few to give each of the 4 parts"):
        share_out(np.array([0, 1, 1, 2]), np.ones(4), np.random.default_rng(0))


def test_a_growth_that_an_earlier_version_began_is_finished_as_one_of_this_version(tmp_path, monkeypatch):
    """It kept a digest of fewer settings, in which a finite box stood for uniform states."""
    recipe = GrownRecipe(
        steps=9_000, first=40, size=300, horizon=60, directions=4, population=4, generations=6, own_states=4,
        neighbors=5, threads=1, states=dataclasses.replace(COUNTS, source="uniform"),
    )  # fmt: skip
    spec, layout = env_spec("Pendulum-v1"), Layout(3, (4,), 1)
    folder = tmp_path / "pool"

    def dies(*_):
        raise SystemExit

    monkeypatch.setattr("lightning_pz.growth.loop.write_pool", dies)
    with pytest.raises(SystemExit):
        grow(folder, spec, layout, recipe, progress=False)
    monkeypatch.undo()
    (state,) = working_folder(folder).glob("round-*/state.json")
    kept = json.loads(state.read_text())
    # As commit 0b84d6b wrote it: the specification without what it did not know of, and the settings.
    known = (
        "id",
        "horizon",
        "observation_size",
        "action_size",
        "observation_low",
        "observation_high",
        "action_low",
        "action_high",
    )
    settings = {k: v for k, v in dataclasses.asdict(recipe).items() if k not in ("threads", "emitter")}
    del settings["states"]["source"]
    plain = [{name: getattr(spec, name) for name in known}, layout.to_dict(), settings, kept["identity"]["tasks"]]
    kept["identity"] = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
    state.write_text(json.dumps(kept))
    shutil.copytree(working_folder(folder), working_folder(tmp_path / "other"))
    for other in ({"seed": 1}, {"states": COUNTS}):
        with pytest.raises(UserError, match="an earlier version began it"):
            grow(tmp_path / "other", spec, layout, dataclasses.replace(recipe, **other), progress=False)
    monkeypatch.setattr("lightning_pz.growth.rounds.Grower.round", dies)
    pool = grow(folder, spec, layout, recipe, progress=False)
    assert pool.meta["identity"]["recipe"]["states_of"] == "whole generations"
    assert shared(pool.arrays["states"], COUNTS) == [0, 0]


def archive(visited):
    count = len(visited)
    empty = np.zeros(count)
    return Archive(
        np.arange(count), np.zeros((count, 1), np.float32), np.zeros((count, 1), np.float32), visited,
        empty.astype(np.int8), empty.astype(np.int32), empty.astype(np.int32), empty.astype(np.int64), np.zeros((count, 0)),
    )  # fmt: skip


def test_states_that_all_generations_share_are_in_one_part_at_most():
    """Where every episode begins in the same state, generations alone do not keep the parts apart."""
    generator = np.random.default_rng(0)
    visited = generator.standard_normal((400, 2, 3)).astype(np.float32)
    visited[:, 0] = [1.0, 2.0, 3.0]
    visited[200:, 1] = visited[:200, 1] * (1 + 1e-6)  # and nearly the same ones later on
    recipe = GrownRecipe(first=40, directions=2, population=10, neighbors=5, visited=0.5, states=COUNTS)
    sample = StateSample(torch.randn(COUNTS.total, 3), torch.zeros(3), torch.tensor([1.0, 0.5, 2.0]), "rollouts")
    states = follow(sample, archive(visited), recipe)
    parts = parts_of(states, COUNTS)
    start = [bool((part == [1.0, 2.0, 3.0]).all(1).any()) for part in parts.values()]
    assert sum(start) == 1
    for name in SPLITS:
        others = np.concatenate([part for other, part in parts.items() if other != name])
        assert np.linalg.norm(parts[name][:, None] - others, axis=-1).min() > 1e-4
        # The other half is the sample's own, untouched.
        span = COUNTS.slices()[name]
        half = (span.stop - span.start) // 2
        np.testing.assert_array_equal(parts[name][half:], sample.states[span][half:])
    np.testing.assert_array_equal(states, follow(sample, archive(visited), recipe))
    unchanged = follow(sample, archive(visited), dataclasses.replace(recipe, visited=0.0))
    np.testing.assert_array_equal(unchanged, sample.states)


class _FromZero(gymnasium.Env):
    """Every episode begins at the origin, and is over after three steps."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        self.x = np.zeros(2)
        return self.x, {}

    def step(self, action):
        self.x += [float(action[0]), 0.1]  # its own buffer, which it hands out every time
        return self.x, 0.0, False, False, {}


def test_a_random_sample_from_one_reset_is_held_out_too():
    from lightning_pz.policy import Prior
    from lightning_pz.pool.states import sample_states

    gymnasium.register("FromZero-v0", entry_point=_FromZero, disable_env_checker=True, max_episode_steps=3)
    try:
        counts = StateCounts(8, 16, 8, 8, episodes=20)
        states = sample_states(env_spec("FromZero-v0"), counts, Layout(2, (4,), 1), Prior(), 0, progress=False).states
    finally:
        del gymnasium.registry["FromZero-v0"]
    assert shared(states.numpy(), counts) == [0, 0]
    # The buffer was copied: three different times of an episode.
    assert set(np.unique(states[:, 1].numpy()).tolist()) == {np.float32(0), np.float32(0.1), np.float32(0.2)}
