"""Climbing along several outcome directions at once: one optimizer each, one batch of policies for all.

An emitter is an `Optimizer` of `lightning_pz.search.optimizers.protocol`, such as PGPE or CMA-ES; its fitness is not a return
but how far a policy's outcome lies along its direction.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightning_pz.search.optimizers.protocol import Optimizer, Vectors
from lightning_pz.search.spaces import SearchSpace


class Emitters(NamedTuple):
    """Optimizers of one algorithm side by side in a space, with the state of each; one for each direction."""

    optimizer: Optimizer
    space: SearchSpace
    states: tuple[Any, ...]


def begin(
    optimizer: Optimizer, space: SearchSpace, starts: Float[Tensor, "directions size"], seeds: list[int]
) -> Emitters:
    """Let an optimizer begin at each start, (D, d)."""
    states = tuple(optimizer.begin(start, seed) for start, seed in zip(starts, seeds, strict=True))
    return Emitters(optimizer, space, states)


@torch.no_grad()
def ask(emitters: Emitters) -> tuple[Emitters, Vectors, Float[Tensor, "points params"], Int[np.ndarray, " points"]]:
    """Return points of all emitters, (D n, d), their weights, (D n, P), and which emitter each is from, (D n,)."""
    asked = [emitters.optimizer.ask(state) for state in emitters.states]
    which = np.repeat(np.arange(len(asked)), [len(points) for _, points in asked])
    # One emitter's points at a time: what a decoder gives depends, in the last digits, on how many it is given.
    params = torch.cat([emitters.space.decode(points) for _, points in asked])
    return emitters._replace(states=tuple(s for s, _ in asked)), torch.cat([p for _, p in asked]), params, which


def tell(
    emitters: Emitters, points: Vectors, fitness: Float[np.ndarray, " points"], which: Int[np.ndarray, " points"]
) -> Emitters:
    """Tell each emitter how far its points went along its direction; NaN for a policy that turned non-finite."""
    values = torch.from_numpy(fitness)
    own = [torch.from_numpy(which == number) for number in range(len(emitters.states))]
    states = (emitters.optimizer.tell(s, points[o], values[o]) for s, o in zip(emitters.states, own, strict=True))
    return emitters._replace(states=tuple(states))


@torch.no_grad()
def release(emitters: Emitters, optimizer: Optimizer, weights: SearchSpace, seeds: list[int]) -> Emitters:
    """Begin again in weights, without the decoder, where each emitter stands."""
    assert weights.encode is not None
    params = torch.cat([emitters.space.decode(center[None]) for center in incumbents(emitters)])
    return begin(optimizer, weights, weights.encode(params), seeds)


def incumbents(emitters: Emitters) -> Iterator[Tensor]:
    """Yield the point at which each emitter stands, (d,)."""
    return (emitters.optimizer.incumbent(state) for state in emitters.states)
