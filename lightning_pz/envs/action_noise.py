"""The random numbers by which policies draw their actions: a function of an episode's seed and the step alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

_BLOCK = 32
"""Steps whose numbers are drawn together; no part of the result, for a stream gives them one after another."""


class ActionNoise:
    """Numbers for the actions of S episodes, step after step: standard normal, or uniform in [0, 1).

    Episodes with one seed get the same numbers, so that two policies compared by it differ in what they do, not in luck.
    They neither depend on which other episodes are played nor on which have ended.
    """

    def __init__(self, seeds: Sequence[int], size: int, uniform: bool) -> None:
        distinct, self._which = np.unique(np.asarray(seeds, dtype=np.int64), return_inverse=True)
        self._streams = [
            np.random.Generator(np.random.SFC64(np.random.SeedSequence(int(seed), spawn_key=(5,)))) for seed in distinct
        ]
        self._uniform, self._step = uniform, 0
        self._block = np.empty((len(distinct), _BLOCK, size), dtype=np.float32)

    def next(self) -> Float[np.ndarray, "slots size"]:
        """Return the numbers of the next step for every slot, (S, size) float32."""
        place = self._step % _BLOCK
        if place == 0:
            for stream, row in zip(self._streams, self._block, strict=True):
                (stream.random if self._uniform else stream.standard_normal)(out=row, dtype=np.float32)
        self._step += 1
        return self._block[:, place][self._which]
