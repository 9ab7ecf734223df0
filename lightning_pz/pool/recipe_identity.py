"""The identity of a pool before it is made: its name, what `pool.json` says of it, and checks of one on disk."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import gymnasium
import mujoco
import numpy as np
import torch

from lightning_pz.common.errors import UserError
from lightning_pz.common.files import alone
from lightning_pz.common.identity import digest, first_difference
from lightning_pz.envs.simulators import slow_note
from lightning_pz.envs.specs import EnvSpec, without_paths
from lightning_pz.policy import Layout
from lightning_pz.pool.states import StateSample
from lightning_pz.pool.store import Pool, read_pool


@runtime_checkable
class PoolRecipe(Protocol):
    """How a pool is made: its `kind`, a `label` of a few letters for its name, and all that decides the result."""

    @property
    def kind(self) -> str: ...

    @property
    def label(self) -> str: ...

    def identity(self) -> dict[str, Any]: ...


def pool_identity(spec: EnvSpec, layout: Layout, recipe: PoolRecipe) -> dict[str, Any]:
    """Return everything that decides a pool, as plain data; `pool.json` keeps it under `identity`."""
    settings = {"kind": recipe.kind, **recipe.identity()}
    return {"env": spec.identity(), "layout": layout.to_dict(), "recipe": settings}


def common_meta(
    spec: EnvSpec, layout: Layout, recipe: PoolRecipe, sample: StateSample, kept: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what `pool.json` says of a pool of any kind, with what its own kind adds: `kept`."""
    settings, identity = recipe.identity(), pool_identity(spec, layout, recipe)
    return {
        "recipe": recipe.kind,
        "identity": identity,
        "env": spec.to_dict(),
        "layout": identity["layout"],
        **{key: settings[key] for key in ("prior", "seed", "neighbors")},
        "state_source": sample.source,
        **kept,
        "observation_mean": sample.mean.tolist(),
        "observation_std": sample.std.tolist(),
        "versions": library_versions(),
    }


def library_versions() -> dict[str, str]:
    """Return the versions of the packages that decide every number of a pool, as `pool.json` keeps them."""
    return {m.__name__: m.__version__ for m in (np, torch, gymnasium, mujoco)}


def pool_folder(
    parent: Path, env_name: str, policy_name: str, spec: EnvSpec, layout: Layout, recipe: PoolRecipe
) -> Path:
    """Return the folder in which this very pool lies, or is to be made, below the folder of pools.

    Its name ends in eight digits of the digest of the identity; what comes before them is for people. A pool from
    before identities were kept is found under its old name if everything that its `pool.json` holds is as wanted.
    """
    wanted = pool_identity(spec, layout, recipe)
    start = f"{env_name}-{policy_name}-{recipe.label}-"
    folder = parent / f"{start}{digest(wanted)[:8]}"
    if not folder.exists():
        for older in sorted(parent.glob(f"{start}????????/pool.json")):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # one that is broken is not it
                meta = json.loads(older.read_text())
                if "identity" not in meta and first_difference(known_identity(meta), wanted) is None:
                    return older.parent
    return folder


def known_identity(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return the identity of a pool on disk, as its `pool.json` keeps it, or rebuilt from one of an earlier version."""
    if "identity" in meta:
        return dict(meta["identity"])
    names = ("candidates", "keep", "neighbors", "seed", "prior", "states", "store")
    settings = meta["growth"]["settings"] if meta["recipe"] == "grown" else {name: meta[name] for name in names}
    if meta["state_source"].startswith("uniform"):
        # Before there was a choice, states were drawn uniformly wherever the observation box is finite.
        settings = {**settings, "states": {**settings["states"], "source": "uniform"}}
    env = EnvSpec.from_dict(meta["env"]).to_dict()
    return {"env": env, "layout": meta["layout"], "recipe": {"kind": meta["recipe"], **settings}}


def find_or_make(folder: Path, spec: EnvSpec, layout: Layout, recipe: PoolRecipe, make: Callable[[], object]) -> Pool:
    """Open the pool of a folder, which `make` makes unless it is there; of several processes one makes it.

    Raises `UserError` if it is broken, or not what these settings make.
    """
    with alone(folder):
        if not folder.exists():
            if (note := slow_note(spec)) is not None:
                print(f"note: {note}", file=sys.stderr)
            make()
    pool = read_pool(folder)
    check_made_by(pool, spec, layout, recipe)
    return pool


def check_made_by(pool: Pool, spec: EnvSpec, layout: Layout, recipe: PoolRecipe) -> None:
    """Raise `UserError` with the first difference unless the pool is what these settings make."""
    check_pool(pool, spec, layout)
    if (found := pool.meta["recipe"]) != recipe.kind:
        raise UserError(
            f"{_a(recipe.kind)} pool was asked for, but {pool.folder} is {_a(found)} one: ask for --recipe {found}, or give "
            "another --pool"
        )
    told = first_difference(
        known_identity(pool.meta), pool_identity(spec, layout, recipe), known_only="identity" not in pool.meta
    )
    if told is not None:
        raise UserError(
            f"{pool.folder} is a pool of other settings than asked for: {told}. Ask for those, or give another --pool"
        )


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def check_pool(pool: Pool, spec: EnvSpec, layout: Layout) -> None:
    """Raise `UserError` unless the pool holds policies of this layout for this environment, horizon and boxes included."""
    if pool.meta["env"]["id"] != spec.id:
        raise UserError(
            f"{pool.folder} holds policies for {pool.meta['env']['id']}, but --env asks for {spec.id}: give the pool of "
            "that environment, or leave --data.pool out to have one made"
        )
    if pool.layout != layout:
        raise UserError(
            f"{pool.folder} holds policies of widths {pool.layout.sizes} ({pool.layout.activation}), but --policy asks "
            f"for {layout.sizes} ({layout.activation}): give a pool of that layout, or leave --data.pool out"
        )
    told = first_difference({"env": without_paths(pool.meta["env"])}, {"env": spec.identity()}, known_only=True)
    if told is not None:
        horizon = pool.meta["env"]["horizon"]
        ask = f"ask for --env.horizon {horizon}" if told.startswith("env.horizon") else "the environment was changed"
        raise UserError(
            f"{pool.folder} holds policies for another {spec.id}: {told}; {ask}, or leave --data.pool out to have a pool made"
        )
