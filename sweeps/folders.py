"""Where the tables of a study go: a folder of its own for every part of a study and for every other file of settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_pz.common.files import slug
from lightning_pz.common.identity import digest
from lightning_pz.envs.presets import conf_dir
from sweeps.optuna_study.reading import read_yaml


def grid_path(study: str, given: str | None) -> Path:
    """Return the file that says what a study does: the given one, or the shipped one."""
    return Path(given) if given else conf_dir() / "sweep" / f"{study}.yaml"


def tables_folder(logs: str, study: str, parts: Sequence[str], changed: Mapping[str, Any] | None = None) -> Path:
    """Return the folder of a study's tables, which no other part and no other settings share.

    Args:
        logs: Folder for pools, runs and studies.
        study: Its name.
        parts: Names of the parts of it that are asked for, such as an environment; none for the whole study.
        changed: Settings that are not the shipped ones, with their values.
    """
    name, told_apart = (
        "-".join([study, *map(slug, parts)]),
        all(part == slug(part) and "-" not in part for part in parts),
    )
    if changed or not told_apart:
        name += f"-{digest([list(parts), changed or {}])[:8]}"
    return Path(logs) / "sweeps" / name


def changed_grid(study: str, path: Path) -> dict[str, str]:
    """Return what tells a file of settings from the shipped one of its study; nothing if they say the same."""
    given, shipped = (repr(read_yaml(one)) for one in (path, grid_path(study, None)))
    return {} if given == shipped else {"grid": digest(given)}


def changed_options(options: Any, ignore: Sequence[str] = ()) -> dict[str, Any]:
    """Return the options of a study that are not its defaults, but for the folder of logs and those to ignore."""
    own = [one for one in dataclasses.fields(options) if one.name not in ("logs", *ignore)]
    return {one.name: getattr(options, one.name) for one in own if getattr(options, one.name) != one.default}
