"""What of an environment decides a result though its id does not tell: spaces, constructor's arguments, a user's source."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from typing import Any

import gymnasium
from gymnasium import spaces

from lightning_pz.common.identity import is_users_own, source_digest


def env_content(env: gymnasium.Env) -> dict[str, Any]:
    """Return plain data that changes when an environment is edited under its old id.

    Args:
        env: As it is played, wrappers included. Of code, only that of modules outside installed packages counts.
    """
    creator = _creator(env)
    layers = [kind for kind in _layers(env) if is_users_own(sys.modules.get(kind.__module__))]
    own = [creator] if is_users_own(sys.modules.get(getattr(creator, "__module__", ""))) else []
    return {
        "observation": _space(env.observation_space),
        "action": _space(env.action_space),
        "kwargs": {key: _plain(value) for key, value in (env.spec.kwargs if env.spec else {}).items()},
        "source": sorted({source_digest(thing) for thing in (*layers, *own)}),
    }


def _layers(env: gymnasium.Env) -> Iterator[type]:
    while True:
        yield type(env)
        if not isinstance(env, gymnasium.Wrapper):
            return
        env = env.env


def _creator(env: gymnasium.Env) -> Any:
    """Return the function or class that makes the environment, None where it is not told."""
    entry = env.spec.entry_point if env.spec else None
    if not isinstance(entry, str):
        return entry
    module, _, name = entry.partition(":")
    return getattr(sys.modules.get(module), name, None)


def _space(space: spaces.Space) -> list[Any]:
    if not isinstance(space, spaces.Box):
        return [str(space)]
    corners = hashlib.sha256(space.low.tobytes() + space.high.tobytes()).hexdigest()
    return [list(space.shape), str(space.dtype), corners]


def _plain(value: Any) -> Any:
    """Return an argument as plain data; what is none counts by its source, or else by its type, never by its address."""
    if isinstance(value, (str, int, float, bool, type(None))):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if callable(value) and hasattr(value, "__qualname__"):
        return source_digest(value)
    return hashlib.sha256(value.tobytes()).hexdigest() if hasattr(value, "tobytes") else type(value).__qualname__
