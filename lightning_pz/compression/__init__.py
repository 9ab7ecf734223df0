"""Makes one trained network small: pruning, int8, L0 gates, low rank; by training, or by distillation of its behavior."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_pz.compression.compressor import Compressor
    from lightning_pz.compression.formats.network_file import read_network, write_network
    from lightning_pz.compression.settings import CompressSettings

_HOMES = {
    "CompressSettings": "lightning_pz.compression.settings",
    "Compressor": "lightning_pz.compression.compressor",
    "read_network": "lightning_pz.compression.formats.network_file",
    "write_network": "lightning_pz.compression.formats.network_file",
}
__all__ = ["CompressSettings", "Compressor", "read_network", "write_network"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that settings are read without torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
