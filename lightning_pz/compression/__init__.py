"""Makes one trained network small: pruning, int8 or int4, L0 gates, low rank; by training, or by distilling its behavior."""

from typing import TYPE_CHECKING

from lightning_pz.common.lazy_names import lazy_names

if TYPE_CHECKING:
    from lightning_pz.compression.compressor import Compressor
    from lightning_pz.compression.formats.network_file import read_network, write_network
    from lightning_pz.compression.settings import CompressSettings

__all__ = ["CompressSettings", "Compressor", "read_network", "write_network"]
__getattr__ = lazy_names(
    __name__,
    {
        "CompressSettings": "settings",
        "Compressor": "compressor",
        "read_network": "formats.network_file",
        "write_network": "formats.network_file",
    },
)
