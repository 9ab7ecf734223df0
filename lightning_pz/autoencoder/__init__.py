"""The behavior autoencoder: an encoder from policies to latents and a decoder from latents to policies."""

from typing import TYPE_CHECKING

from lightning_pz.common.lazy_names import lazy_names

if TYPE_CHECKING:
    from lightning_pz.autoencoder.load import load_autoencoder
    from lightning_pz.autoencoder.module import BehaviorAutoencoder

__all__ = ["BehaviorAutoencoder", "load_autoencoder"]
__getattr__ = lazy_names(__name__, {"BehaviorAutoencoder": "module", "load_autoencoder": "load"})
