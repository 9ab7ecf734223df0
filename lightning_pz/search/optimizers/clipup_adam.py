"""ClipUp and Adam, which move the center of a search uphill, as pure functions on state."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_pz.search.optimizers.protocol import Vector


class ClipUp(NamedTuple):
    """A normalized gradient with momentum and a speed limit; Toklu et al. 2020 make `rate` half of `max_speed`."""

    velocity: Tensor  # Last step, (d,)
    rate: float  # Length that the normalized gradient adds to a step
    momentum: float  # Share of the last step that is kept
    max_speed: float


class Adam(NamedTuple):
    """Adam for ascent. Source: Kingma and Ba 2015, Adam: A Method for Stochastic Optimization."""

    first: Tensor  # Running mean of the gradient, of any shape
    second: Tensor  # Running mean of its square
    taken: int
    rate: float


def clipup(size: int, max_speed: float, momentum: float) -> ClipUp:
    """Begin ClipUp at rest, with the authors' ratio of rate to speed limit."""
    return ClipUp(torch.zeros(size, dtype=torch.double), max_speed / 2, momentum, max_speed)


def adam(like: Tensor, rate: float) -> Adam:
    """Begin Adam for points of the shape and type of `like`."""
    return Adam(torch.zeros_like(like), torch.zeros_like(like), 0, rate)


def clipup_step(state: ClipUp, gradient: Vector) -> tuple[ClipUp, Vector]:
    """Return the next state and the step to add to the center; a zero gradient adds nothing."""
    norm = gradient.norm()
    push = state.rate * gradient / norm if norm > 0 else torch.zeros_like(gradient)
    velocity = state.momentum * state.velocity + push
    speed = velocity.norm()
    if speed > state.max_speed:
        velocity = velocity * (state.max_speed / speed)
    return state._replace(velocity=velocity), velocity


def adam_step(
    state: Adam, gradient: Float[Tensor, "*shape"], beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8
) -> tuple[Adam, Float[Tensor, "*shape"]]:
    """Return the next state and the step to add to the center."""
    taken = state.taken + 1
    first = beta1 * state.first + (1 - beta1) * gradient
    second = beta2 * state.second + (1 - beta2) * gradient.square()
    step = state.rate * (first / (1 - beta1**taken)) / ((second / (1 - beta2**taken)).sqrt() + epsilon)
    return Adam(first, second, taken, state.rate), step
