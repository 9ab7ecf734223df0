"""What decides a pool decides its name; what lies on disk is found again by content, or refused with a difference."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from lightning_pz.common.errors import UserError
from lightning_pz.envs.specs import env_spec
from lightning_pz.policy import Layout
from lightning_pz.pool.grown_recipe import GrownRecipe
from lightning_pz.pool.recipe import collect
from lightning_pz.pool.recipe_identity import check_made_by, pool_folder
from lightning_pz.pool.store import read_pool


def as_of_old(pool, folder):
    """The same pool as an earlier version left it: no identity, an environment without arguments and source."""
    shutil.copytree(pool.folder, folder)
    meta = json.loads((folder / "pool.json").read_text())
    del meta["identity"], meta["env"]["kwargs"], meta["env"]["source"]
    (folder / "pool.json").write_text(json.dumps(meta))
    return folder


def name(spec, layout, recipe):
    return pool_folder(Path("pools"), "car", "tiny", spec, layout, recipe).name


def test_every_part_of_the_content_is_part_of_the_name(car, layout, recipe):
    changed = {
        "horizon": car.horizon - 1, "action_high": (2.0,), "observation_low": (-2.0, -0.07), "kwargs": '[{"g": 1}, []]',
        "source": "abc", "id": "Other-v0", "choices": (3,),
    }  # fmt: skip
    like_others = {"action_low", "observation_high", "observation_size", "action_size"}
    # Where files of arguments lie decides nothing; what they say is part of `kwargs`.
    assert changed.keys() | like_others | {"given"} == {field.name for field in dataclasses.fields(car)}
    assert name(dataclasses.replace(car, given='{"g": 1}'), layout, recipe) == name(car, layout, recipe)
    specs = [dataclasses.replace(car, **{key: value}) for key, value in changed.items()]
    layouts = [Layout(2, (8, 9), 1), Layout(2, (8, 8), 1, "relu")]
    recipes = [dataclasses.replace(recipe, **change) for change in ({"seed": 1}, {"keep": 1.0}, {"store": "params"})]
    names = [name(spec, layout, recipe) for spec in (car, *specs)]
    names += [name(car, one, recipe) for one in layouts] + [name(car, layout, one) for one in (*recipes, GrownRecipe())]
    assert len(set(names)) == len(names)


def test_an_old_pool_is_found_again_where_it_is_what_is_wanted(pool, car, layout, recipe, tmp_path):
    old = as_of_old(pool, tmp_path / f"car-tiny-s{recipe.seed}-01234567")
    assert pool_folder(tmp_path, "car", "tiny", car, layout, recipe) == old
    check_made_by(read_pool(old), car, layout, recipe)
    for other in (
        (env_spec(car.id, 5), layout, recipe),
        (dataclasses.replace(car, source="of a user's own"), layout, recipe),
        (car, Layout(2, (9,), 1), recipe),
        (car, layout, dataclasses.replace(recipe, keep=0.4)),
    ):
        assert pool_folder(tmp_path, "car", "tiny", *other) != old


def test_a_new_pool_does_not_stand_for_one_of_another_name(pool, car, layout, recipe, tmp_path):
    shutil.copytree(pool.folder, tmp_path / f"car-tiny-s{recipe.seed}-01234567")
    folder = pool_folder(tmp_path, "car", "tiny", car, layout, recipe)
    assert not folder.exists() and folder.name != f"car-tiny-s{recipe.seed}-01234567"


def test_a_folder_of_other_settings_is_refused_with_the_first_difference(pool, car, layout, recipe, tmp_path):
    old = as_of_old(pool, tmp_path / "old")
    for folder in (pool.folder, old):
        with pytest.raises(UserError, match=r"recipe\.candidates is 400, not 300"):
            collect(folder, car, layout, dataclasses.replace(recipe, candidates=300), progress=False)
        with pytest.raises(UserError, match=r"env\.horizon is 999, not 50; ask for --env\.horizon 999"):
            collect(folder, env_spec(car.id, 50), layout, recipe, progress=False)
        with pytest.raises(UserError, match=r"env\.action_high\[0\] is 1\.0, not 2\.0"):
            collect(folder, dataclasses.replace(car, action_high=(2.0,)), layout, recipe, progress=False)
        with pytest.raises(UserError, match="random one"):
            check_made_by(read_pool(folder), car, layout, GrownRecipe())


@pytest.mark.parametrize(
    "idle, used",
    [
        ({"features": 8}, {"outcome": "fourier"}),
        ({"latent_dim": 3, "latent_steps": 7, "latent_share": 0.1}, {"latent_rounds": 1}),
    ],
)
def test_settings_that_decide_nothing_name_no_other_pool(idle, used):
    assert GrownRecipe(**idle).identity() == GrownRecipe().identity()
    for name, value in idle.items():
        assert GrownRecipe(**used, **{name: value}).identity() != GrownRecipe(**used).identity()
