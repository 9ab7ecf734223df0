"""Reads what decides the return of an episode beside policy and seed: environment, tasks, versions."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import inspect
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium

from lightning_pz.common.errors import UserError
from lightning_pz.common.identity import digest, first_difference, source_digest
from lightning_pz.envs.specs import EnvSpec, env_spec, without_paths
from lightning_pz.envs.tasks import find_task


def environment_now(made_for: Mapping[str, Any], path: object) -> dict[str, Any]:
    """Return the environment of a checkpoint as it is now, with the horizon that the checkpoint keeps, as plain data.

    Raises `UserError` if it is gone, or has other boxes, sizes or arguments, so that its policies cannot act in it.
    """
    before = EnvSpec.from_dict(dict(made_for))
    now = env_spec(before.id, before.horizon, _there(before, path)).to_dict()
    difference = first_difference(without_paths(made_for), without_paths(now), ignore=["source"], known_only=True)
    if difference is not None:
        raise UserError(
            f"{path} was made for {made_for['id']} as it was then, which has changed since ({difference}): restore the "
            "environment, give the new one an id of its own, or fit again"
        )
    return now


def environment_identity(made_for: Mapping[str, Any], path: object) -> dict[str, Any]:
    """Return what decides results of the environment of a checkpoint as it is now; raises as `environment_now` does."""
    return without_paths(environment_now(made_for, path))


def _there(spec: EnvSpec, path: object) -> dict[str, Any]:
    """Return the arguments of an environment whose files must be where they were."""
    for name, value in spec.arguments.items():
        if isinstance(value, str) and Path(value).is_absolute() and not Path(value).exists():
            raise UserError(
                f"{path} was made for {spec.id} with --env.kwargs.{name} {value}, which is not there any more: restore the file"
            )
    return spec.arguments


def is_as_it_was(made_for: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Return whether an environment is surely the one of a checkpoint, though an earlier version kept less of it."""
    known = all(key in made_for or not now[key] for key in ("kwargs", "source"))
    return known and first_difference(without_paths(made_for), without_paths(now), known_only=True) is None


def task_sources(env_id: str, names: Iterable[str]) -> dict[str, str]:
    """Return a digest of the source of each task of the user's own, and an empty text for one of this package's."""
    found = {}
    for name in names:
        task = find_task(env_id, name)
        # A partial or an object of another module is what the named module makes of it.
        parts = [sys.modules[name.partition(":")[0]], inspect.unwrap(task)] if ":" in name else []
        found[name] = digest([source_digest(part) for part in parts])[:16] if parts else ""
    return found


def versions(env_id: str, *packages: str) -> dict[str, str]:
    """Return the versions of the packages that simulate an environment, and of more that are named, where they are installed."""
    found = {}
    for package in ("gymnasium", "mujoco", *_simulators(env_id), *packages):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def _simulators(env_id: str) -> list[str]:
    """Return the packages beside Gymnasium and MuJoCo that simulate an environment; the user's own code counts by its source."""
    spec = gymnasium.registry.get(env_id.rpartition(":")[2])  # without the module that registers it
    entry = spec.entry_point if spec is not None else None
    module = entry.partition(":")[0] if isinstance(entry, str) else getattr(entry, "__module__", "")
    root = "Box2D" if module.startswith("gymnasium.envs.box2d") else module.partition(".")[0]
    return sorted(set(_packages_of(root)) - {"gymnasium"})


@functools.cache
def _packages_of(module: str) -> Sequence[str]:
    return importlib.metadata.packages_distributions().get(module, [])
