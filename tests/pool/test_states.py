"""State samples: seeded, split by episode, standardized."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from lightning_pz.common.errors import UserError
from lightning_pz.envs.presets import load_preset, preset_names
from lightning_pz.envs.specs import env_spec
from lightning_pz.policy import Layout, Prior
from lightning_pz.pool.grown_recipe import GrownRecipe
from lightning_pz.pool.recipe import RandomRecipe, collect
from lightning_pz.pool.recipe_identity import pool_folder
from lightning_pz.pool.states import StateCounts, sample_states
from lightning_pz.pool.store import read_pool
from tests.conftest import network_of

COUNTS = StateCounts(probe=20, train=30, val=10, test=10)


def sample(env, seed=0, counts=COUNTS, episodes=4):
    spec = env_spec(env)
    layout = Layout(spec.observation_size, (4,), spec.action_size)
    return sample_states(spec, dataclasses.replace(counts, episodes=episodes), layout, Prior(), seed, progress=False)


def test_uniform_over_a_finite_box():
    drawn = sample("MountainCarContinuous-v0", counts=StateCounts(4000, 2, 2, 2, source="uniform"))
    low, high = torch.tensor([-1.2, -0.07]), torch.tensor([0.6, 0.07])
    assert drawn.source == "uniform"
    assert (drawn.states >= low).all() and (drawn.states <= high).all()
    torch.testing.assert_close(drawn.mean, (low + high) / 2)
    torch.testing.assert_close(drawn.std, drawn.states.std(0), rtol=0.03, atol=0)


def test_a_finite_box_does_not_draw_states_that_no_episode_visits():
    """Pendulum observes an angle as cosine and sine: its states are a circle in a square."""
    drawn = sample("Pendulum-v1", episodes=4)
    assert drawn.source == "rollouts"
    torch.testing.assert_close(drawn.states[:, :2].norm(dim=1), torch.ones(len(drawn.states)))
    boxed = sample("Pendulum-v1", counts=dataclasses.replace(COUNTS, source="uniform"))
    assert ((boxed.states[:, :2].norm(dim=1) - 1).abs() > 0.05).float().mean() > 0.5


@pytest.mark.parametrize("env", ["Reacher-v5", "HalfCheetah-v5"])
def test_uniform_states_need_a_finite_box(env):
    with pytest.raises(UserError, match=r"--states.source uniform .* coordinate 0 of .* ranges from -inf to inf"):
        sample(env, counts=dataclasses.replace(COUNTS, source="uniform"))


def test_a_constant_coordinate_of_a_box_is_only_centered():
    spec = dataclasses.replace(
        env_spec("Pendulum-v1"), observation_low=(-1.0, 2.0, -8.0), observation_high=(1.0, 2.0, 8.0)
    )
    counts = dataclasses.replace(COUNTS, source="uniform")
    drawn = sample_states(spec, counts, Layout(3, (4,), 1), Prior(), 0, progress=False)
    assert drawn.std[1] == 1 and drawn.mean[1] == 2


def test_the_source_is_part_of_what_a_pool_is(car, layout, tmp_path):
    recipe = RandomRecipe(candidates=40, neighbors=5, states=StateCounts(4, 4, 4, 4, 2, "uniform"))
    other = dataclasses.replace(recipe, states=dataclasses.replace(recipe.states, source="rollouts"))
    grown = [GrownRecipe(states=r.states) for r in (recipe, other)]
    for one, two in ((recipe, other), grown):
        found = {pool_folder(tmp_path, "car", "small", car, layout, r) for r in (one, two)}
        assert len(found) == 2
    pool = collect(tmp_path / "pool", car, layout, recipe, progress=False)
    assert collect(tmp_path / "pool", car, layout, recipe, progress=False).meta == pool.meta
    with pytest.raises(UserError, match=r"recipe\.states\.source is \"uniform\", not"):
        collect(tmp_path / "pool", car, layout, other, progress=False)


def test_a_pool_from_before_the_source_was_named_is_found_where_it_was_uniform(car, layout, tmp_path):
    """It drew from the box wherever that is finite: it is what Mountain Car's preset asks for, and no other's."""
    recipe = RandomRecipe(candidates=40, neighbors=5, states=StateCounts(4, 4, 4, 4, 2, "uniform"))
    old = tmp_path / "car-small-s0-01234567"
    path = collect(old, car, layout, recipe, progress=False).folder / "pool.json"
    meta = json.loads(path.read_text())
    del meta["identity"], meta["states"]["source"]
    path.write_text(json.dumps(meta))
    assert pool_folder(tmp_path, "car", "small", car, layout, recipe) == old
    assert len(collect(old, car, layout, recipe, progress=False)) == len(read_pool(old))
    other = dataclasses.replace(recipe, states=dataclasses.replace(recipe.states, source="rollouts"))
    assert pool_folder(tmp_path, "car", "small", car, layout, other) != old
    with pytest.raises(UserError, match=r"recipe\.states\.source is \"uniform\""):
        collect(old, car, layout, other, progress=False)


@pytest.mark.parametrize("name", preset_names("env"))
def test_only_presets_say_uniform_and_only_where_they_can(name):
    """Every preset's states can be drawn, and Mountain Car keeps the box that its tables were made with."""
    preset = load_preset("env", name)
    sections = [
        preset.get("collect", {}),
        preset.get("collect-grown", {}),
        *preset.get("fit", {}).get("data", {}).values(),
    ]
    sections = [section for section in sections if isinstance(section, dict)]  # beside the recipe's name
    sources = {section.get("states", {}).get("source", "rollouts") for section in sections} or {"rollouts"}
    assert sources == ({"uniform"} if name.startswith("mountaincar") else {"rollouts"})
    spec = env_spec(preset["env"]["id"])
    for source in sources:
        StateCounts(source=source).check_source(spec)


def test_rollouts():
    drawn = sample("Reacher-v5", episodes=4)
    assert drawn.source == "rollouts" and drawn.states.shape == (70, 10)
    assert torch.equal(drawn.states, sample("Reacher-v5", episodes=4).states)
    assert not torch.equal(drawn.states, sample("Reacher-v5", seed=1, episodes=4).states)
    assert drawn.steps == 4 * 4 * 50  # four episodes a part, of 50 steps


def test_given_policies_are_played_in_the_place_of_random_ones():
    spec = env_spec("MountainCarContinuous-v0", 200)
    network, few, found = network_of(spec), dataclasses.replace(COUNTS, episodes=4), {}
    for push in (-9.0, 9.0):  # always to the left, always to the right
        params = torch.zeros(3, network.layout.num_params)
        params[:, -1] = push
        again = [
            sample_states(spec, few, network.layout, Prior(), 0, given=(network, params), progress=False).states
            for _ in range(2)
        ]
        assert torch.equal(*again)
        found[push] = again[0][:, 0]
    assert found[9.0].mean() > found[-9.0].mean() + 0.1


def test_parts_come_from_different_episodes():
    """Reacher's target stands still within an episode and is drawn anew for each: it names the episode."""
    drawn = sample("Reacher-v5", episodes=6)
    parts = [{tuple(s) for s in drawn.states[part, 4:6].tolist()} for part in COUNTS.slices().values()]
    for i, part in enumerate(parts):
        assert len(part) > 1
        assert not part & set().union(*parts[:i])


def test_statistics_see_no_held_out_state():
    drawn = sample("Reacher-v5", episodes=4)
    seen = drawn.states[:50].double()
    torch.testing.assert_close(drawn.mean.double(), seen.mean(0), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(drawn.std.double(), seen.std(0, correction=0), rtol=1e-4, atol=1e-6)


def test_too_few_states_say_what_to_do():
    with pytest.raises(UserError, match=r"lower it|--states"):
        sample("InvertedDoublePendulum-v5", counts=StateCounts(2000, 2, 2, 2), episodes=2)


def test_slices_cover_the_sample():
    covered = np.concatenate([np.arange(COUNTS.total)[part] for part in COUNTS.slices().values()])
    assert covered.tolist() == list(range(COUNTS.total))


def test_counts_are_checked():
    with pytest.raises(UserError, match=r"--states\.val expects at least 2"):
        StateCounts(val=1)
