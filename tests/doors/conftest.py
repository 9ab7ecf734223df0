"""A tiny grown pool of Mountain Car, and its archive."""

import drawing
import pytest

from lightning_pz import export
from lightning_pz.envs.specs import env_spec
from lightning_pz.growth.loop import grow
from lightning_pz.policy import Layout
from lightning_pz.pool.grown_recipe import GrownRecipe
from lightning_pz.pool.states import StateCounts

STATES = StateCounts(probe=16, train=24, val=12, test=12, episodes=4)


@pytest.fixture(scope="session")
def grown(tmp_path_factory):
    recipe = GrownRecipe(
        steps=8_000, horizon=40, first=40, size=80, directions=4, population=4, generations=3, own_states=3, neighbors=5,
        threads=1, outcome="mean_spread", states=STATES,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("grown") / "car"
    return grow(folder, env_spec("MountainCarContinuous-v0", 40), Layout(2, (2,), 1), recipe, progress=False)


@pytest.fixture(scope="session")
def exported(grown, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "archive"
    with drawing.all_drawn():
        export.main(["--pool", str(grown.folder), "--to", str(folder), "--cells", "200", "--task", "left"])
    return folder
