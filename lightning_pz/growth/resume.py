"""Saves a growth between two rounds, so that it can resume after a kill."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lightning_pz.common.errors import UserError
from lightning_pz.common.files import new_folder, write_text
from lightning_pz.common.identity import digest, first_difference
from lightning_pz.envs.specs import EnvSpec
from lightning_pz.growth.archive import Archive
from lightning_pz.growth.rounds import Growth
from lightning_pz.pool.grown_recipe import POOL_MAKING
from lightning_pz.pool.recipe_identity import library_versions

_NUMBERS = ("rounds", "steps", "played", "generation", "invalid")
_WHOLE = ("functionals", "first")


def working_folder(pool: Path) -> Path:
    """Return where the growth of a pool is kept until the pool is finished."""
    return pool.with_name(f".{pool.name}.growing")


def save_growth(folder: Path, growth: Growth, report: dict[str, Any], identity: Any) -> None:
    """Write a growth as `round-NNNN` in the working folder, whole or not at all, and drop the one before.

    The report is more plain data to keep: history and seconds; the identity is plain data that decides the result.
    """
    target = folder / f"round-{growth.rounds:04d}"
    arrays = growth.archive.arrays() | {name: getattr(growth, name) for name in _WHOLE}
    numbers = {name: getattr(growth, name) for name in _NUMBERS}
    state = {"identity": identity, "versions": library_versions(), "numbers": numbers, "told": report}
    with new_folder(target) as temporary:
        for name, array in arrays.items():
            np.save(temporary / f"{name}.npy", array, allow_pickle=False)
        # Not write_json: numbers of the history that are not finite are to be read again as such.
        write_text(temporary / "state.json", json.dumps(state))
    for older in folder.glob("round-*"):
        if older != target:
            shutil.rmtree(older, ignore_errors=True)


def load_growth(folder: Path, identity: Any) -> tuple[Growth, dict[str, Any]] | None:
    """Return the newest saved growth with its report, or None; `UserError` if it is of other settings or packages, or broken."""
    path = max(folder.glob("round-*"), default=None)
    if path is None:
        return None
    try:
        state = json.loads((path / "state.json").read_text())
        difference = _difference(state["identity"], identity)
        # Earlier versions kept none.
        other = first_difference(state.get("versions", library_versions()), library_versions())
        archive, whole = (
            {name: np.load(path / f"{name}.npy", allow_pickle=False) for name in names}
            for names in (Archive.__dataclass_fields__, _WHOLE)
        )
        growth, report = Growth(archive=Archive(**archive), **whole, **state["numbers"]), state["told"]
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise UserError(
            f"{path} cannot be read ({type(error).__name__}: {error}): delete {folder} to begin again"
        ) from error
    if difference is not None:
        raise UserError(
            f"{folder} holds an unfinished growth with other settings: {difference}. Finish it with those, give another "
            "--pool, or delete it"
        )
    if other is not None:
        raise UserError(
            f"{folder} holds an unfinished growth that other packages began: {other}, and they decide every number of a pool. "
            "Install those, give another --pool, or delete it to begin again"
        )
    return growth, report


def _difference(kept: Any, identity: Mapping[str, Any]) -> str | None:
    """Return where a saved growth's identity differs, or None; how the finished growth becomes a pool does not matter."""
    if not isinstance(kept, str):
        return first_difference(kept, identity, ignore=[f"recipe.{name}" for name in POOL_MAKING])
    # An earlier version kept a digest, knew less of the environment, and drew states uniformly from every finite box.
    env = {name: value for name, value in identity["env"].items() if name not in ("kwargs", "source")}
    recipe = {name: value for name, value in identity["recipe"].items() if name not in ("kind", *POOL_MAKING)}
    states = dict(recipe["states"])
    uniform = states.pop("source", "rollouts") == "uniform"
    before = [env, identity["layout"], recipe | {"states": states}, identity["tasks"]]
    if kept == digest(before) and uniform == EnvSpec.from_dict(env).has_finite_observations:
        return None
    return "an earlier version began it, and kept of its settings no more than that they differ"
