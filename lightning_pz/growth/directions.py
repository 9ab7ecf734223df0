"""In which directions of outcome space to grow next: such that the pool is thin there, and few are alike."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

_CANDIDATES = 512
_FRONTIER = 0.7
"""Share of the pool's reach along a direction beyond which a policy counts as being at its frontier."""

Directions = Float[np.ndarray, "directions white"]


def draw_directions(count: int, size: int, generator: np.random.Generator) -> Directions:
    """Draw unit vectors with random signs, from sparse to dense: the number of coordinates is log-uniform.

    A dense direction asks for many things at once and a single coordinate for one; nobody knows beforehand which of
    them behaviors follow.
    """
    drawn = np.zeros((count, size))
    for row in drawn:
        used = min(size, int(np.exp(generator.uniform(0, np.log(size + 1)))))
        row[generator.permutation(size)[:used]] = generator.standard_normal(used)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def thinness(outcomes: Float[np.ndarray, "policies white"], directions: Directions) -> Float[np.ndarray, " directions"]:
    """Return how thin the pool is at its frontier: `-log` of the share of policies beyond 0.7 of the furthest.

    Where a limit holds policies back, as that of a joint, they crowd at it, and climbing goes nowhere; where few have
    come far, there is further to go. Counting beyond a fixed distance instead prefers just the limits.
    """
    projections = outcomes @ directions.T
    far = (projections > _FRONTIER * projections.max(0)).sum(0)
    return -np.log((far + 1) / (len(outcomes) + 1))


def covering_directions(
    outcomes: Float[np.ndarray, "policies white"], count: int, generator: np.random.Generator
) -> Directions:
    """Choose directions, each followed by its opposite, that cover the sphere and prefer thin parts of the pool.

    Greedy: of many candidates the next is the one with the largest product of thinness (of the two ends together)
    and angle to what has been chosen.

    Args:
        outcomes: Of the pool, whitened.
        count: How many, even.
        generator: Draws the candidates.
    """
    candidates = draw_directions(_CANDIDATES, outcomes.shape[1], generator)
    thin = thinness(outcomes, candidates) + thinness(outcomes, -candidates)
    angle = np.full(len(candidates), np.pi / 2)
    chosen: list[np.ndarray] = []
    for _ in range(count // 2):
        best = int(np.argmax(thin * angle))
        chosen += [candidates[best], -candidates[best]]
        cosine = np.abs(candidates @ candidates[best]).clip(0, 1)
        angle = np.minimum(angle, np.arccos(cosine))
    return np.array(chosen)


def random_directions(count: int, size: int, generator: np.random.Generator) -> Directions:
    """Draw independent directions, uniform on the sphere: what covering is compared with."""
    drawn = generator.standard_normal((count, size))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
