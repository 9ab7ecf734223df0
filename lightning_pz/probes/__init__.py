"""Measurements of latent and behavior spaces: estimates of dimension, effective ranks, linear references."""

from typing import TYPE_CHECKING

from lightning_pz.common.lazy_names import lazy_names

if TYPE_CHECKING:
    from lightning_pz.probes.callback import ProbeCallback
    from lightning_pz.probes.measure import measure_space

__all__ = ["ProbeCallback", "measure_space"]
__getattr__ = lazy_names(__name__, {"ProbeCallback": "callback", "measure_space": "measure"})
