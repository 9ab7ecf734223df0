"""Keeps the global random generators that a library draws from apart from everybody else's."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


class OwnGenerators:
    """The states of the global generators of PyTorch, NumPy and Python, for one user of theirs."""

    def __init__(self) -> None:
        self.states: dict[str, Any] | None = None  # plain data; None before the first use

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Put these states in place of the others' while the block runs."""
        outer = _read()
        if self.states is not None:
            _write(self.states)
        try:
            yield
        finally:
            self.states = _read()
            _write(outer)


def _read() -> dict[str, Any]:
    state: Any = np.random.get_state()
    name, keys, position, has_gauss, gauss = state
    return {
        "torch": torch.get_rng_state(),
        "numpy": (str(name), torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(gauss)),
        "python": random.getstate(),
    }


def _write(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    random.setstate(states["python"])
