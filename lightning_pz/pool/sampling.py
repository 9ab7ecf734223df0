"""Draws candidates by index and computes their actions in chunks, never all in memory."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_pz.common.executors import run_pieces
from lightning_pz.common.progress import ProgressBar
from lightning_pz.common.threads import one_thread
from lightning_pz.policy import Layout, Prior, act_shared, draw_params, policy_chunk

Params = Float[Tensor, "policies params"]
Observations = Float[Tensor, "states observation"]
_Actions = Float[Tensor, "policies states action"]
_DRAW_FLOATS = 1 << 24
"""Weights that one drawn batch may hold: 64 MiB."""


def drawn_chunks(prior: Prior, layout: Layout, seed: int, indices: np.ndarray) -> Iterator[tuple[slice, Params]]:
    """Yield (rows, params) over the policies with these indices, the next chunk drawn while one is used."""
    spans = _spans(layout, len(indices))
    with ThreadPoolExecutor(1) as ahead:
        pending = [ahead.submit(draw_params, prior, layout, seed, indices[span]) for span in spans[:1]]
        for i, span in enumerate(spans):
            params = pending.pop().result()
            if i + 1 < len(spans):
                pending.append(ahead.submit(draw_params, prior, layout, seed, indices[spans[i + 1]]))
            yield span, params


def _spans(layout: Layout, count: int) -> list[slice]:
    """Cut 0, 1, 2, ... into the chunks that are drawn at once; part of the result, whose last digits depend on them."""
    size = max(1, min(4096, _DRAW_FLOATS // layout.num_params))
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


@torch.no_grad()
def act_on(layout: Layout, params: Params, observations: Observations, out: _Actions) -> None:
    """Write the actions of many policies on shared standardized states into `out`, (N, M, A), of any float type."""
    size = policy_chunk(layout, len(observations))
    for start in range(0, len(params), size):
        part = slice(start, start + size)
        out[part] = act_shared(layout, params[part], observations)


def act_table(
    prior: Prior,
    layout: Layout,
    seed: int,
    indices: np.ndarray,
    observations: Observations,
    out: _Actions,
    *,
    description: str,
    progress: bool | None = None,
    executor: Executor | None = None,
) -> None:
    """Draw the policies with these indices and write their actions on shared standardized states into `out`.

    An executor runs the chunks side by side; the numbers are the same.
    """
    bar = ProgressBar(total=len(indices), desc=description, unit="policy", unit_scale=True, progress=progress)
    with bar:
        if executor is None:
            for span, params in drawn_chunks(prior, layout, seed, indices):
                act_on(layout, params, observations, out[span])
                bar.update(len(params))
            return
        spans = _spans(layout, len(indices))
        pieces = [_ChunkPiece(prior, layout, seed, indices[span], observations, out.dtype) for span in spans]
        for number, outcome in run_pieces(executor, _act_on_chunk, pieces):
            out[spans[number]] = torch.from_numpy(outcome.get())
            bar.update(len(pieces[number].indices))


@dataclass(frozen=True)
class _ChunkPiece:
    prior: Prior
    layout: Layout
    seed: int
    indices: np.ndarray
    observations: Tensor
    dtype: torch.dtype


def _act_on_chunk(piece: _ChunkPiece) -> np.ndarray:
    """Return the actions of a chunk of policies, (n, M, A), of the piece's type, on a worker."""
    params = draw_params(piece.prior, piece.layout, piece.seed, piece.indices)
    out = torch.empty(len(params), len(piece.observations), piece.layout.feature_size, dtype=piece.dtype)
    with one_thread():
        act_on(piece.layout, params, piece.observations, out)
    return out.numpy()
