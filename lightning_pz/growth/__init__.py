"""Pools that grow: a search for new outcomes, with no reward of any task in it."""

from typing import Any


def __getattr__(name: str) -> Any:
    """Import `grow` when it is first asked for, and torch with it."""
    if name != "grow":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lightning_pz.growth.loop import grow

    return grow
