"""Finds the settings file of a study, and a folder of its own for the tables of every part and every other file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_pz.common.files import check_writable, slug
from lightning_pz.common.identity import digest
from lightning_pz.envs.presets import conf_dir
from sweeps.optuna_study.reading import read_yaml


def grid_path(study: str, given: str | None) -> Path:
    """Return the settings file of a study: the given one, or the shipped one."""
    return Path(given) if given else conf_dir() / "sweep" / f"{study}.yaml"


def tables_folder(logs: str, study: str, parts: Sequence[str], changed: Mapping[str, Any] | None = None) -> Path:
    """Return the folder of a study's tables, checked to be writable; no other part and no other settings share it.

    Args:
        parts: Names of the chosen parts of it, such as an environment; none for the whole study.
        changed: Settings that are not the shipped ones, with their values.
    """
    name = "-".join([study, *map(slug, parts)])
    if changed or not all(part == slug(part) and "-" not in part for part in parts):
        name += f"-{digest([list(parts), changed or {}])[:8]}"
    folder = Path(logs) / "sweeps" / name
    check_writable(folder)
    return folder


def changed_grid(study: str, path: Path) -> dict[str, str]:
    """Return the digest of a settings file by `grid`; nothing if it equals the shipped file of its study."""
    given, shipped = (repr(read_yaml(one)) for one in (path, grid_path(study, None)))
    return {} if given == shipped else {"grid": digest(given)}


def changed_options(options: Any, ignore: Sequence[str] = ()) -> dict[str, Any]:
    """Return the options of a study that are not its defaults, except the folder of logs and those to ignore."""
    own = [one for one in dataclasses.fields(options) if one.name not in ("logs", *ignore)]
    return {one.name: getattr(options, one.name) for one in own if getattr(options, one.name) != one.default}
