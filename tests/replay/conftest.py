"""Tiny grown pools: of Mountain Car, of a MuJoCo environment, and of one that Gymnasium itself simulates."""

import json

import numpy as np
import pytest

from lightning_pz.common.files import file_digest
from lightning_pz.envs.specs import env_spec
from lightning_pz.growth.loop import grow
from lightning_pz.policy import Layout
from lightning_pz.pool.grown_recipe import GrownRecipe
from lightning_pz.pool.states import StateCounts
from lightning_pz.pool.store import read_pool

STATES = StateCounts(probe=16, train=24, val=12, test=12, episodes=4)
GROWTHS = {
    "MountainCarContinuous-v0": {"steps": 8_000, "horizon": 40, "latent_rounds": 1},
    "Hopper-v5": {"steps": 8_000, "horizon": 40, "outcome": "mean_spread"},
    "odd_environments:EndsByState-v0": {"steps": 8_000, "horizon": 45},
    "odd_environments:OwnTruncation-v0": {"steps": 8_000, "horizon": 40},
    "odd_environments:NanRewardSometimes-v0": {"steps": 8_000, "horizon": 48},
}
COMMON = {
    "first": 40, "size": 80, "directions": 4, "population": 4, "generations": 3, "latent_dim": 2, "latent_steps": 30,
    "own_states": 3, "neighbors": 5, "threads": 1, "states": STATES,
}  # fmt: skip


@pytest.fixture(scope="session")
def grown_pools(tmp_path_factory):
    """Return a function from an id to its pool, which is grown when it is first asked for."""
    folder, made = tmp_path_factory.mktemp("replay"), {}

    def pool_of(env_id):
        if env_id not in made:
            spec = env_spec(env_id, 50)  # short episodes, for the state sample plays them too
            shape = Layout(spec.observation_size, (8,), spec.action_size)
            recipe = GrownRecipe(**COMMON, **GROWTHS[env_id])
            made[env_id] = grow(folder / str(len(made)), spec, shape, recipe, progress=False)
        return made[env_id]

    return pool_of


def tampered(pool, folder, arrays=None, meta=lambda meta: None):
    """Write a copy of a pool with other arrays or other contents of `pool.json`."""
    folder.mkdir()
    plain = json.loads((pool.folder / "pool.json").read_text())
    for name in pool.arrays:
        np.save(folder / f"{name}.npy", (arrays or {}).get(name, np.array(pool.arrays[name])))
        plain["arrays"][name]["sha256"] = file_digest(folder / f"{name}.npy")
    meta(plain)
    (folder / "pool.json").write_text(json.dumps(plain))
    return read_pool(folder)
