"""CMA-ES from the package `cma` (Hansen and Ostermeier 2001), the strong opponent where there are few coordinates."""

from __future__ import annotations

import math
import pickle
import warnings
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lightning_pz.search.algorithm_settings import CmaesSettings
from lightning_pz.search.optimizers.protocol import Fitness, Vector, Vectors, centered_ranks
from lightning_pz.search.settings import check_algorithm_package


class CmaesState(NamedTuple):
    """The package's own object, random generator included."""

    strategy: bytes
    asked: Tensor  # The points of the last `ask`, (n, D) float64; (0, D) before that. D is at least 2


class Cmaes:
    """CMA-ES behind `lightning_pz.search.optimizers.protocol.Optimizer`; it maximizes, by ranks.

    The package needs two coordinates, so that a single one gets an idle companion. `size` is d, of the usual
    population, 4 + 3 ln d. `diagonal` adapts only a standard deviation per coordinate, which is affordable for
    thousands (Ros and Hansen 2008).
    """

    def __init__(self, settings: CmaesSettings, size: int, *, diagonal: bool = False) -> None:
        check_algorithm_package("cmaes")
        self.settings, self.size, self.diagonal = settings, size, diagonal
        self.population = settings.population or 4 + int(3 * math.log(max(2, size)))

    def begin(self, start: Vector, seed: int) -> CmaesState:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about plotting, which is not used here
            import cma
        x0 = np.zeros(max(2, self.size))
        x0[: self.size] = start.double().numpy()
        # A generator of its own, which is pickled with the object, in place of NumPy's global one.
        randn = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed))).randn
        options = {"popsize": self.population, "randn": randn, "seed": np.nan, "verbose": -9}
        if self.diagonal:
            options["CMA_diagonal"] = True
        strategy = cma.CMAEvolutionStrategy(x0, self.settings.sigma, options)
        return CmaesState(strategy.pickle_dumps(), torch.zeros(0, len(x0), dtype=torch.double))

    def ask(self, state: CmaesState) -> tuple[CmaesState, Vectors]:
        strategy = _load(state)
        asked = torch.from_numpy(np.array(strategy.ask()))
        return CmaesState(strategy.pickle_dumps(), asked), asked[:, : self.size].clone()

    def tell(self, state: CmaesState, points: Vectors, fitness: Fitness) -> CmaesState:
        strategy = _load(state)
        strategy.tell(list(state.asked.numpy()), (-centered_ranks(fitness)).tolist())  # it minimizes
        return CmaesState(strategy.pickle_dumps(), state.asked)

    def incumbent(self, state: CmaesState) -> Vector:
        """Return the mean of the search distribution."""
        return torch.from_numpy(np.array(_load(state).mean, dtype=np.float64)[: self.size].copy())

    def sigma(self, state: CmaesState) -> float:
        """Return the mean standard deviation over the coordinates."""
        return float(np.mean(_load(state).stds[: self.size]))


def _load(state: CmaesState) -> Any:
    return pickle.loads(state.strategy)
