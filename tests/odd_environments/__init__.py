"""Environments with every habit that Gymnasium tolerates and people have; importing this registers them.

In a test or a subprocess with `tests/` on its path they are `odd_environments:PointMass-v0` and so on. All are a point
mass in a few lines, so that a plain Gymnasium loop tells what is right.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium

from odd_environments import acts, faults, habits
from odd_environments.acts import bounded
from odd_environments.faults import TakesArguments
from odd_environments.habits import STEPS, Faster, PointMass


def _register() -> None:
    kinds: list[type] = [
        kind for kind in (*vars(habits).values(), *vars(acts).values(), *vars(faults).values())
        if isinstance(kind, type) and issubclass(kind, PointMass)
    ]  # fmt: skip
    for kind in kinds:
        _once(f"{kind.__name__}-v0", kind)
    _once("Endless-v0", PointMass, max_episode_steps=None)
    _once("Pushed-v0", TakesArguments, kwargs={"push": 0.5})
    _once("Bounded-v0", bounded)
    # Ids that a careless slug gives one name, and one that looks like a shipped environment's.
    _once("odd/PointMass-v0", PointMass)
    _once("odd/Point-Mass-v0", Faster)
    _once("pointmass-v0", Faster)
    _once("Hopper-variant-v0", PointMass)


def _once(env_id: str, entry: Callable[..., gymnasium.Env], **more: Any) -> None:
    # Under pytest this file may be imported under two names.
    if env_id not in gymnasium.registry:
        gymnasium.register(env_id, entry, **{"max_episode_steps": STEPS, **more})


_register()
