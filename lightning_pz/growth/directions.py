"""Chooses directions of outcome space along which the pool is thin, few of them alike."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

_CANDIDATES = 512
_FAR = 2.0
"""Standard deviations beyond which a policy counts as far along a direction."""
_FRONTIER = 0.7
"""Share of the pool's reach along a direction beyond which a policy counts as being at its frontier."""

Whitened = Float[np.ndarray, "policies white"]
Directions = Float[np.ndarray, "directions white"]
Thinness = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From whitened outcomes, (N, D), and directions, (K, D), to how thin the pool is along each, (K,)."""


def draw_directions(count: int, size: int, generator: np.random.Generator) -> Directions:
    """Draw unit vectors with random signs, from sparse to dense: the number of coordinates is log-uniform.

    A dense direction asks for many things at once, a single coordinate for one; which of them behaviors follow is
    unknown beforehand.
    """
    drawn = np.zeros((count, size))
    for row in drawn:
        used = min(size, int(np.exp(generator.uniform(0, np.log(size + 1)))))
        row[generator.permutation(size)[:used]] = generator.standard_normal(used)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def far_thinness(outcomes: Whitened, directions: Directions) -> Float[np.ndarray, " directions"]:
    """Return how few policies lie far along each direction: `-log` of their share beyond 2 standard deviations.

    The share of a Gaussian is 0.023 in every direction, so 3.8 is normal. It is largest where a limit, as that of a
    joint, holds policies back.
    """
    return _rarity(outcomes @ directions.T > _FAR)


def frontier_thinness(outcomes: Whitened, directions: Directions) -> Float[np.ndarray, " directions"]:
    """Return how thin the pool is at its frontier: `-log` of the share of policies beyond 0.7 of the furthest.

    Policies crowd at a limit, so this is small there, and largest where one or two have come far ahead of the rest.
    """
    projections = outcomes @ directions.T
    return _rarity(projections > _FRONTIER * projections.max(0))


def _rarity(far: np.ndarray) -> np.ndarray:
    return -np.log((far.sum(0) + 1) / (len(far) + 1))


THINNESS = {"covering": far_thinness, "frontier": frontier_thinness}
"""Measures of how thin a pool is along a direction, by the choice of directions that uses them."""


def covering_directions(
    outcomes: Whitened, count: int, generator: np.random.Generator, thinness: Thinness = far_thinness
) -> Directions:
    """Choose an even number of directions, each followed by its opposite, that cover the sphere and prefer thin parts.

    Greedy: of many candidates the next is the one with the largest product of thinness (of the two ends together)
    and angle to what has been chosen.
    """
    candidates = draw_directions(_CANDIDATES, outcomes.shape[1], generator)
    thin = thinness(outcomes, candidates) + thinness(outcomes, -candidates)
    angle = np.full(len(candidates), np.pi / 2)
    chosen: list[np.ndarray] = []
    for _ in range(count // 2):
        best = int(np.argmax(thin * angle))
        chosen += [candidates[best], -candidates[best]]
        angle = np.minimum(angle, np.arccos(np.abs(candidates @ candidates[best]).clip(0, 1)))
    return np.array(chosen)


def random_directions(count: int, size: int, generator: np.random.Generator) -> Directions:
    """Draw independent directions, uniform on the sphere: what covering is compared with."""
    drawn = generator.standard_normal((count, size))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
