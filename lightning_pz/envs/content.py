"""Describes an environment beyond its id: spaces, constructor arguments, wrappers, and the user's own source."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from lightning_pz.common.identity import digest, is_users_file, is_users_own, source_digest
from lightning_pz.envs.arguments import by_content, model_file_digest


def env_content(env: gymnasium.Env) -> dict[str, Any]:
    """Return plain data that changes when an environment, with its wrappers, is edited under its old id."""
    return {
        "observation": _space(env.observation_space),
        "action": _space(env.action_space),
        "kwargs": constructor_content(env),
        "source": own_source(env),
    }


def constructor_content(env: gymnasium.Env) -> str:
    """Return keyword arguments and additional wrappers of an environment as canonical JSON, if any.

    Files count by their content, those of the registration as much as those that a user gives.
    """
    spec = env.spec
    if spec is None or not (spec.kwargs or spec.additional_wrappers):
        return ""
    wrappers = [[w.name, w.entry_point, w.kwargs] for w in spec.additional_wrappers]
    return json.dumps(by_content(env, [spec.kwargs, wrappers]), sort_keys=True, default=_plain)


def own_source(env: gymnasium.Env) -> str:
    """Return a digest of the source of all classes and functions of the user's that make up an environment.

    That is the environment's class, every wrapper around it and the entry point, with the MuJoCo model that they load
    without being told of it by an argument. What comes from an installed package is left out, for its id has a version; the
    digest is empty if nothing is left.
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
    if not own:
        return ""
    return digest([*map(source_digest, own), *_own_model(env)])[:16]


def _own_model(env: gymnasium.Env) -> list[Any]:
    """Return the digest of the file of a user's from which an environment of `MujocoEnv` has its model, with all that it includes.

    Of the file, since the environment may change the model that it compiled, each time in another way. Nothing where an
    argument names the file, which counts as such, or where Gymnasium ships it.
    """
    path, arguments = getattr(env.unwrapped, "fullpath", None), env.spec.kwargs if env.spec is not None else {}
    if not isinstance(path, str) or path in map(str, arguments.values()) or not is_users_file(Path(path).resolve()):
        return []
    return [model_file_digest(path)]


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
