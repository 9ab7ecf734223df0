"""Optimizers of a point, as pure functions on immutable state."""

from lightning_pz.search.optimizers.cmaes import Cmaes
from lightning_pz.search.optimizers.pgpe import Pgpe
from lightning_pz.search.optimizers.protocol import Optimizer
from lightning_pz.search.optimizers.random_latent import RandomLatent

__all__ = ["Cmaes", "Optimizer", "Pgpe", "RandomLatent"]
