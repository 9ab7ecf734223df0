"""Names the pools whose policies have no episodes, for the sentences that refuse them. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def unplayed(meta: Mapping[str, Any]) -> str:
    """Return what a pool without episodes is, from its `pool.json`: words that follow its folder in a sentence."""
    if meta.get("recipe") == "archive":
        return "is the pool of an archive, which holds no episodes"
    return "is a random pool, whose policies were never played"
