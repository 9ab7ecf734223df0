"""A tiny growth on Mountain Car, which takes a second."""

import drawing
import pytest

from lightning_pz.growth.loop import grow
from lightning_pz.pool.grown_recipe import GrownRecipe
from lightning_pz.pool.states import StateCounts

TINY = {
    "steps": 15_000, "first": 40, "size": 60, "horizon": 50, "directions": 4, "population": 4, "generations": 4,
    "latent_rounds": 1, "latent_dim": 2, "latent_steps": 30, "own_states": 3, "neighbors": 5, "threads": 1,
    "states": StateCounts(probe=16, train=24, val=12, test=12, source="uniform"),
}  # fmt: skip


@pytest.fixture(scope="session")
def grown_recipe():
    return GrownRecipe(**TINY)


@pytest.fixture(scope="session")
def grown(tmp_path_factory, car, layout, grown_recipe):
    with drawing.all_drawn():
        return grow(tmp_path_factory.mktemp("grown") / "pool", car, layout, grown_recipe, progress=False)
