"""Policy gradients with parameter-based exploration (PGPE): symmetric pairs, ranks, a sigma that follows its gradient.

Source: Sehnke et al. 2010, Parameter-exploring Policy Gradients; Toklu et al. 2020, ClipUp, which bounds changes of
sigma.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_pz.search.algorithm_settings import PgpeSettings
from lightning_pz.search.optimizers.clipup_adam import Adam, ClipUp, adam, adam_step, clipup, clipup_step
from lightning_pz.search.optimizers.protocol import Fitness, Vector, Vectors, centered_ranks

Noise = Float[Tensor, "pairs size"]
Pairs = Float[Tensor, " pairs"]


class PgpeState(NamedTuple):
    """A Gaussian search distribution with independent coordinates."""

    center: Tensor  # Its mean, (d,) float64
    sigma: Tensor  # Its standard deviations, (d,)
    mover: ClipUp | Adam  # State of ClipUp or Adam, which moves the center
    generator: Tensor  # State of the random generator, uint8


def center_gradient(noise: Noise, plus: Pairs, minus: Pairs, sigma: Vector) -> Vector:
    """Estimate the gradient of the expected fitness with respect to the center: `mean((f+ - f-)/2 * eps/sigma)`.

    The noise eps is standard normal; plus and minus are the fitness at `center + sigma eps` and `center - sigma eps`.
    """
    return ((plus - minus) / 2) @ noise / len(noise) / sigma


def sigma_gradient(noise: Noise, plus: Pairs, minus: Pairs, sigma: Vector, baseline: float) -> Vector:
    """Estimate the gradient with respect to sigma: `mean(((f+ + f-)/2 - b) (eps^2 - 1)/sigma)`; arguments as above.

    The *sum* of a pair distinguishes a wide distribution from a narrow one; of the difference the mean is zero for
    every function. A baseline b adds no bias if it does not depend on the noise, since eps^2 - 1 has mean 0.
    """
    return ((plus + minus) / 2 - baseline) @ (noise.square() - 1) / len(noise) / sigma


class Pgpe:
    """PGPE behind `lightning_pz.search.optimizers.protocol.Optimizer`; points 0 and 1, 2 and 3, ... are pairs.

    Both steps are in proportion to sigma squared, so the scales of fitness (by ranks) and points do not matter.
    """

    def __init__(self, settings: PgpeSettings) -> None:
        self.settings, self.population = settings, settings.population

    def begin(self, start: Vector, seed: int) -> PgpeState:
        s, size = self.settings, len(start)
        center = start.double()
        speed = s.max_speed * (s.sigma * size**0.5)
        mover = adam(center, s.learning_rate * s.sigma) if s.optimizer == "adam" else clipup(size, speed, s.momentum)
        generator = torch.Generator().manual_seed(seed)
        return PgpeState(center, torch.full_like(center, s.sigma), mover, generator.get_state())

    def ask(self, state: PgpeState) -> tuple[PgpeState, Vectors]:
        generator = torch.Generator().set_state(state.generator)
        noise = torch.randn(self.population // 2, len(state.center), generator=generator, dtype=torch.double)
        spread = noise * state.sigma
        points = torch.stack([state.center + spread, state.center - spread], dim=1).flatten(0, 1)
        return state._replace(generator=generator.get_state()), points

    def tell(self, state: PgpeState, points: Vectors, fitness: Fitness) -> PgpeState:
        noise = (points[0::2] - state.center) / state.sigma
        ranks = centered_ranks(fitness)
        plus, minus, sigma = ranks[0::2], ranks[1::2], state.sigma
        # Centered ranks have mean 0, so the baseline is 0.
        by_center = center_gradient(noise, plus, minus, sigma) * sigma.square()
        by_sigma = sigma_gradient(noise, plus, minus, sigma, 0.0) * sigma.square()
        move: Any = clipup_step if isinstance(state.mover, ClipUp) else adam_step
        mover, step = move(state.mover, by_center)
        bound = self.settings.sigma_max_change * sigma
        change = torch.minimum(torch.maximum(self.settings.sigma_rate * by_sigma, -bound), bound)
        return PgpeState(state.center + step, sigma + change, mover, state.generator)

    def incumbent(self, state: PgpeState) -> Vector:
        return state.center

    def sigma(self, state: PgpeState) -> float:
        return float(state.sigma.mean())
