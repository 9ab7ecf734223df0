"""Policies and states on disk: made, kept, split and recognized."""

from typing import TYPE_CHECKING

from lightning_pz.common.lazy_names import lazy_names

if TYPE_CHECKING:
    from lightning_pz.pool.datamodule import PolicyPoolDataModule
    from lightning_pz.pool.grown_recipe import GrownRecipe
    from lightning_pz.pool.recipe import RandomRecipe, collect
    from lightning_pz.pool.store import Pool, read_pool

__all__ = ["GrownRecipe", "PolicyPoolDataModule", "Pool", "RandomRecipe", "collect", "read_pool"]
__getattr__ = lazy_names(
    __name__,
    {
        "GrownRecipe": "grown_recipe", "PolicyPoolDataModule": "datamodule", "Pool": "store", "RandomRecipe": "recipe",
        "collect": "recipe", "read_pool": "store",
    },
)  # fmt: skip
