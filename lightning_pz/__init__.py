"""Few numbers for whole policies: latent policy compression, its measurement, and search through it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_pz.common.lazy_names import lazy_names
from lightning_pz.common.version import __version__ as __version__

if TYPE_CHECKING:
    from lightning_pz.autoencoder.load import load_autoencoder
    from lightning_pz.envs.rollout import rollout
    from lightning_pz.policy.saved import load_policy
    from lightning_pz.pool.store import read_pool

__all__ = ["load_autoencoder", "load_policy", "read_pool", "rollout"]
# A command that refuses its arguments imports no torch.
__getattr__ = lazy_names(
    __name__,
    {
        "load_autoencoder": "autoencoder.load",
        "load_policy": "policy.saved",
        "read_pool": "pool.store",
        "rollout": "envs.rollout",
    },
)
