"""Describes an environment beyond its id: spaces, constructor arguments, wrappers, and the user's own source."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np

from lightning_pz.common.identity import digest, is_users_own, source_digest


def env_content(env: gymnasium.Env, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return plain data that changes when an environment, with its wrappers, is edited under its old id.

    `given` are arguments of a user's, by their content.
    """
    return {
        "observation": _space(env.observation_space),
        "action": _space(env.action_space),
        "kwargs": registered_kwargs(env, given),
        "source": own_source(env),
    }


def registered_kwargs(env: gymnasium.Env, given: Mapping[str, Any] | None = None) -> str:
    """Return keyword arguments and additional wrappers of an environment as canonical JSON, if any.

    `given` are those of its arguments that a user gave, by their content.
    """
    spec = env.spec
    if spec is None or not (spec.kwargs or spec.additional_wrappers):
        return ""
    wrappers = [[w.name, w.entry_point, w.kwargs] for w in spec.additional_wrappers]
    return json.dumps([{**spec.kwargs, **(given or {})}, wrappers], sort_keys=True, default=_plain)


def own_source(env: gymnasium.Env) -> str:
    """Return a digest of the source of all classes and functions of the user's that make up an environment.

    That is the environment's class, every wrapper around it and the entry point. What comes from an installed package is
    left out, for its id has a version; the digest is empty if nothing is left.
    """
    layer, parts = env, list[Callable[..., Any]]([type(env)])
    while isinstance(layer, gymnasium.Wrapper):
        layer = layer.env
        parts.append(type(layer))
    entry = env.spec.entry_point if env.spec is not None else None
    if isinstance(entry, str):  # package.module:Class, imported by now
        module, _, name = entry.partition(":")
        entry = getattr(sys.modules.get(module), name, None)
    if callable(entry):
        parts.append(entry)
    own = {part: None for part in parts if is_users_own(sys.modules.get(getattr(part, "__module__", "")))}
    return digest([source_digest(part) for part in own])[:16] if own else ""


def _space(space: gymnasium.Space) -> list[Any]:
    if not isinstance(space, gymnasium.spaces.Box):
        return [str(space)]
    # Corners of images are as many numbers as pixels.
    return [list(space.shape), str(space.dtype), digest([space.low.tolist(), space.high.tolist()])]


def _plain(value: Any) -> Any:
    """Return a value that JSON does not know as plain data that is the same in every process."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    if callable(value):
        name = getattr(value, "__qualname__", type(value).__qualname__)
        return [f"{getattr(value, '__module__', '')}.{name}", source_digest(value)]
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))
