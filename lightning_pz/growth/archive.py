"""Keeps policies whose outcomes lie apart, at most so many, by a deterministic choice."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Float, Int

_BLOCK = 1024
_PASSES = 16
"""One over the share of the points that may go before distances are computed anew."""
_ALIKE = 1e-3
"""Whitened distance below which two outcomes count as one."""


@dataclass(frozen=True)
class Archive:
    """Policies with their origins and outcomes; row i of every array is policy i.

    Attributes:
        numbers: In the order of being played, over the whole growth, (N,) int64.
        params: Weights, (N, P) float32.
        outcomes: Raw, (N, D) float32.
        visited: A few states of the episode, raw, (N, m, O) float32.
        origins: 0 drawn from the prior, 1 found in weights, 2 found in the latent space, (N,) int8.
        directions: Row of the direction it was found along; -1 for none, (N,) int32.
        rounds: Round in which it was found, (N,) int32.
        lengths: Steps of its episode, (N,) int64.
        returns: Of all tasks in that episode, for the report, (N, T) float64.
    """

    numbers: np.ndarray
    params: np.ndarray
    outcomes: np.ndarray
    visited: np.ndarray
    origins: np.ndarray
    directions: np.ndarray
    rounds: np.ndarray
    lengths: np.ndarray
    returns: np.ndarray

    def __len__(self) -> int:
        return len(self.numbers)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def take(self, rows: np.ndarray) -> Archive:
        """Return some of the policies."""
        return replace(self, **{name: array[rows] for name, array in self.arrays().items()})


def join(parts: list[Archive]) -> Archive:
    """Return one archive after the other as one."""
    return Archive(**{name: np.concatenate([p.arrays()[name] for p in parts]) for name in parts[0].arrays()})


def nearest_others(
    points: Float[np.ndarray, "points size"],
) -> tuple[Float[np.ndarray, " points"], Int[np.ndarray, " points"]]:
    """Return the distance to the nearest other point and its number, exact, for each point."""
    rows = torch.from_numpy(np.ascontiguousarray(points, dtype=np.float32))
    rows = rows - rows.mean(0)
    squares = rows.square().sum(1)
    numbers = torch.empty(len(rows), dtype=torch.long)
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        scores = torch.addmm(squares, block, rows.T, alpha=-2)
        own = torch.arange(len(block))
        scores[own, start + own] = torch.inf
        numbers[start : start + len(block)] = scores.argmin(1)
    return (rows - rows[numbers]).norm(dim=1).numpy(), numbers.numpy()


def thin_out(points: Float[np.ndarray, "points size"], size: int, alike: float = _ALIKE) -> Int[np.ndarray, " kept"]:
    """Choose at most `size` points that lie apart; near-duplicates go in any case.

    The closest pairs lose their younger member, pair after pair, until few enough are left. So a dense cluster becomes a
    sparse one, where keeping only the most novel would have emptied it.

    Args:
        points: Whitened outcomes, oldest first.
        size: The most that may stay.
        alike: Distance below which a pair is one point.

    Returns:
        Rows that stay, ascending.
    """
    rows = np.arange(len(points))
    while len(rows) > 1:
        distance, other = nearest_others(points[rows])
        order = np.argsort(distance, kind="stable")
        close = int((distance <= alike).sum())
        surplus = max(len(rows) - size, 0)
        if not close and not surplus:
            break
        # Distances change as points go, so only the closest pairs of a pass count.
        surplus = min(surplus, -(-len(rows) // _PASSES))
        gone = np.zeros(len(rows), dtype=bool)
        for number, row in enumerate(order.tolist()):
            if number >= close and gone.sum() >= surplus:
                break
            partner = int(other[row])
            if not gone[row] and not gone[partner]:
                gone[max(row, partner)] = True
        rows = rows[~gone]
    return rows
