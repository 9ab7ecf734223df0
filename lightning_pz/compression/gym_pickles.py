"""Pickles that were written under Gym, the predecessor of Gymnasium, which is not needed to read them."""

from __future__ import annotations

import io
import pickle
from typing import Any


def load_pickle(content: bytes) -> Any:
    """Return what a pickle holds, with Gymnasium's classes in the place of Gym's; it runs code of its own, as any pickle does."""
    return _Renaming(io.BytesIO(content)).load()


class _Renaming(pickle.Unpickler):
    """Takes classes of Gym from Gymnasium, which reads the state of the earlier ones."""

    def find_class(self, module: str, name: str) -> Any:
        root, dot, rest = module.partition(".")
        return super().find_class("gymnasium" + dot + rest if root == "gym" else module, name)
