"""Decides whether a pool is the one that a checkpoint was trained on, and opens it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lightning_pz.common.errors import UserError
from lightning_pz.common.identity import first_difference
from lightning_pz.envs.specs import EnvSpec, without_paths
from lightning_pz.pool.store import Pool, read_pool

REPEATED = ("env", "layout", "prior", "observation_mean", "observation_std")
"""What a checkpoint's description repeats of `pool.json`."""


def describe_pool(pool: Pool) -> dict[str, Any]:
    """Return what a checkpoint keeps of its pool, by which `check_same_pool` recognizes it."""
    return {"folder": str(pool.folder), "digest": pool.digest, "identity": pool.identity}


def pool_difference(pool: Pool, description: Mapping[str, Any]) -> str | None:
    """Return the first difference between a pool and that of a checkpoint's description; None if it is the same.

    A description of an earlier version holds the digest of a single array, `indices` or `params`; environment, layout,
    prior, statistics and probe states, which it repeats, must then be equal as well. Together they determine seed and
    state sample.
    """
    known = description["pool"]
    if "identity" in known:
        return first_difference(pool.identity, known["identity"])
    if told := first_difference(*map(_repeated, (pool.meta, description))):
        return told
    own, kept = pool.arrays["states"][: pool.meta["states"]["probe"]], np.array(description["probe_states"], np.float32)
    if not np.array_equal(own, kept):
        return "the probe states are others"
    name = "params" if pool.meta.get("recipe") == "grown" else "indices"
    return first_difference({name: pool.meta["arrays"][name]["sha256"]}, {name: known["digest"]})


def is_pool_of(pool: Pool, description: Mapping[str, Any]) -> bool:
    """Return whether this is the pool that a checkpoint was trained on."""
    return description.get("pool") is not None and pool_difference(pool, description) is None


def check_same_pool(
    pool: Pool, description: Mapping[str, Any], advice: str = "give the right one with --pool, or fit again"
) -> None:
    """Raise `UserError` with the first difference, and what to do, unless this is the pool that a checkpoint was trained on."""
    if (told := pool_difference(pool, description)) is not None:
        raise UserError(
            f"{pool.folder} is another pool than the one this checkpoint was trained on ({told}), so that held-out "
            f"policies cannot be told from training policies: {advice}"
        )


def open_pool_of(description: Mapping[str, Any], given: str | None = None, *, verify: bool = True) -> Pool:
    """Open the pool of a checkpoint's description, in the folder `given` if it was moved; `verify` every array's digest.

    Raises `UserError` if it is not there, is another pool, or is not known from the checkpoint.
    """
    known = description.get("pool")
    if known is None and "others" in description:
        raise UserError(
            f"no pool of {description['policy']} policies was trained on, the decoder of that size learned from the behavior "
            "of others: leave --policy out, measure the size with evaluate --translate, or fit with --data.pool A,B"
        )
    if known is None:
        raise UserError("this checkpoint does not say which policies were held out: train it again with this version")
    folder = Path(given or known["folder"])
    if not folder.exists():
        raise UserError(
            f"the pool of this checkpoint was at {folder}, which does not exist here: run from the folder that "
            "training ran in, give --pool, or make it again with python -m lightning_pz.collect"
        )
    pool = read_pool(folder, verify=verify)
    check_same_pool(pool, description)
    return pool


def _repeated(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `pool.json` and a description have in common, the environment with all its fields."""
    env = without_paths(dataclasses.asdict(EnvSpec.from_dict(plain["env"])))
    return {key: plain[key] for key in REPEATED} | {"env": env}
