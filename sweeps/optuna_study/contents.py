"""Digests the content of what a study's settings only name: the environment, files, pools, and a user's task."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning_pz.common.files import file_digest
from lightning_pz.common.identity import digest, source_digest
from lightning_pz.envs.presets import resolve_env
from lightning_pz.envs.specs import env_spec
from lightning_pz.envs.tasks import find_task


def contents_of(env: str, settings: Any) -> dict[str, str]:
    """Return a digest of the environment and of everything that settings name.

    Strings in these plain data may name a file, the folder of a pool, or a task as `module:function`.
    """
    env_id = resolve_env(env)["env"]["id"]
    found = {f"environment {env_id}": digest(dataclasses.asdict(env_spec(env_id)))}
    for key, text in _strings("", settings):
        path = Path(text)
        if key.endswith(".task"):
            names = [name for name in text.split(",") if ":" in name]
            found |= {f"task {name}": source_digest(inspect.unwrap(find_task(env_id, name))) for name in names}
        elif (path / "pool.json").is_file():
            found[f"pool {text}"] = file_digest(path / "pool.json")  # it holds a digest of every array
        elif text and path.is_file():
            found[f"file {text}"] = file_digest(path)
        elif text and path.is_dir() and key.endswith(".start"):
            files = sorted(path.glob("*.npz"))
            found[f"policies {text}"] = digest([[one.name, file_digest(one)] for one in files])
    return found


def _strings(place: str, plain: Any) -> Iterator[tuple[str, str]]:
    if isinstance(plain, Mapping | list):
        for key, value in plain.items() if isinstance(plain, Mapping) else ((None, one) for one in plain):
            yield from _strings(place if key is None else f"{place}.{key}", value)
    elif isinstance(plain, str):
        yield place, plain
