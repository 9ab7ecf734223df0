"""Few numbers for whole policies: latent policy compression, its measurement, and search through it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_pz.autoencoder.load import load_autoencoder
    from lightning_pz.envs.rollout import rollout
    from lightning_pz.policy.saved import load_policy
    from lightning_pz.pool.store import read_pool

__version__ = "0.1.0"
__all__ = ["load_autoencoder", "load_policy", "read_pool", "rollout"]

_HOMES = {
    "load_autoencoder": "lightning_pz.autoencoder.load",
    "load_policy": "lightning_pz.policy.saved",
    "read_pool": "lightning_pz.pool.store",
    "rollout": "lightning_pz.envs.rollout",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: a command that refuses its arguments imports no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
