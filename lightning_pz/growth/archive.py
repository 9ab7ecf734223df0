"""Keeps policies whose outcomes lie apart, at most so many, by a deterministic choice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

_BLOCK, _PASSES = 1024, 16
"""One over the share of the points that may go before distances are computed anew."""
_ALIKE = 1e-3
"""Whitened distance below which two outcomes count as one."""


@dataclass(frozen=True)
class Archive:
    """Policies with their origins and outcomes; row i of every array is policy i."""

    numbers: np.ndarray  # in the order of being played, over the whole growth, (N,) int64
    params: np.ndarray  # weights, (N, P) float32
    outcomes: np.ndarray  # raw, (N, D) float32
    visited: np.ndarray  # a few states of the episode, raw, (N, m, O) float32
    origins: np.ndarray  # numbers in `ORIGINS` of growth/playing.py, (N,) int8
    directions: np.ndarray  # row of the direction it was found along; -1 for none, (N,) int32
    rounds: np.ndarray  # in which it was found, (N,) int32
    lengths: np.ndarray  # steps of its episode, (N,) int64
    returns: np.ndarray  # of all tasks in that episode, for the report, (N, T) float64

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
    points: Float[np.ndarray, "points size"], threads: int = 1
) -> tuple[Float[np.ndarray, " points"], Int[np.ndarray, " points"]]:
    """Return the distance to the nearest other point and its number, exact, for each point.

    With several threads, whose number changes nothing, torch itself must compute with one.
    """
    rows = torch.from_numpy(np.ascontiguousarray(points, dtype=np.float32))
    rows = rows - rows.mean(0)
    squares = rows.square().sum(1)
    numbers = torch.empty(len(rows), dtype=torch.long)

    def find(own: Int[Tensor, " block"]) -> None:
        scores = torch.addmm(squares, rows[own], rows.T, alpha=-2)
        scores[torch.arange(len(own)), own] = torch.inf
        numbers[own] = scores.argmin(1)

    blocks = torch.arange(len(rows)).split(_BLOCK)
    if threads == 1:
        for own in blocks:
            find(own)
    else:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            list(pool.map(find, blocks))
    return (rows - rows[numbers]).norm(dim=1).numpy(), numbers.numpy()


def thin_out(
    points: Float[np.ndarray, "points size"], size: int, alike: float = _ALIKE, threads: int = 1
) -> Int[np.ndarray, " kept"]:
    """Return the rows of at most `size` points that lie apart, in ascending order, for points (N, D), the oldest first.

    The closest pairs lose their younger member, pair after pair, until few enough are left. So a dense cluster becomes
    a sparse one, where keeping only the most novel would have emptied it. Of two points at a distance of `alike` or
    less, in the unit of the points, the younger goes in any case, however few there are.

    A pass finds the nearest other point of each, in N^2 D operations, and drops a sixteenth of the points at most
    besides those `alike`, so that there is about a pass for each sixteenth that goes.

    References:
        Zitzler, Laumanns and Thiele, "SPEA2: improving the strength Pareto evolutionary algorithm", 2001, whose
        truncation drops one of the closest pair too, one at a time.
    """
    rows = np.arange(len(points))
    while len(rows) > 1:
        distance, other = nearest_others(points[rows], threads)
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
            pair = [row, int(other[row])]
            if not gone[pair].any():
                gone[max(pair)] = True
        rows = rows[~gone]
    return rows
