"""A pool on disk: written whole or not at all, checked when opened, read without copying."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import DTypeLike
from torch import Tensor

from lightning_pz.common.errors import UserError
from lightning_pz.common.files import file_digest, write_text
from lightning_pz.common.identity import digest
from lightning_pz.policy import Layout, PolicyNetwork, Prior, draw_params

POOL_FORMAT = 1
ARRAYS = ("indices", "states", "fingerprints", "actions", "novelty")
_DECISIVE_META = (
    "recipe", "env", "layout", "prior", "seed", "candidates", "params_checksum", "observation_mean", "observation_std",
)  # fmt: skip
_DECISIVE, _DECISIVE_FOUND = ("indices", "states"), ("params", "visited", "returns")
_REMAKE = "delete the folder and run the command again to make it anew"


@dataclass(frozen=True)
class Pool:
    """Kept policies, their behavior on the state sample, and the recipe that made them: the contents of `pool.json`.

    `arrays` are read-only memory maps: `indices` (N,) of the kept candidates, `states` (S, O) raw, `fingerprints` (N, M, F)
    float32, behavior features on the probe states, `actions` (N, S - M, F) float16 on the states that are not probe states, `novelty` (N,), and `params` (N, P)
    float32 where they are stored. A grown pool holds also `outcomes` (N, D), `visited` (N, m, O) raw states of each policy's
    own episode, `origins`, `directions`, `rounds`, `lengths` (N,), `returns` (N, T) of its tasks in that episode, and
    `functionals` (K, D).
    """

    folder: Path
    meta: dict[str, Any]
    layout: Layout
    prior: Prior
    arrays: dict[str, np.ndarray]

    def __len__(self) -> int:
        return int(self.meta["kept"])

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that decides what these policies are, do and have earned, as plain data.

        Whether drawn policies are kept as seeds or as weights does not matter: the checksum stands for their weights.
        """
        drawn, kept = self.meta.get("recipe", "random") == "random", self.meta["arrays"]
        names = _DECISIVE if drawn else _DECISIVE + _DECISIVE_FOUND
        arrays = {name: kept[name]["sha256"] for name in names if name in kept}
        return {**{key: self.meta.get(key) for key in _DECISIVE_META}, "arrays": arrays}

    @property
    def digest(self) -> str:
        """SHA-256 of the identity."""
        return digest(self.identity)

    @property
    def network(self) -> PolicyNetwork:
        """The common part of the policies: standardization, shape, action box."""
        meta, env = self.meta, self.meta["env"]
        parts = (meta["observation_mean"], meta["observation_std"], env["action_low"], env["action_high"])
        return PolicyNetwork(self.layout, *map(torch.tensor, parts))

    def params(self, rows: np.ndarray) -> Float[Tensor, "policies params"]:
        """Return the weights of some kept policies, read or drawn again from their seeds; see `check_regeneration`."""
        self.check_regeneration()
        return self._weights(rows)

    def _weights(self, rows: np.ndarray) -> Float[Tensor, "policies params"]:
        if "params" in self.arrays:
            return torch.from_numpy(self.arrays["params"][rows])
        return draw_params(self.prior, self.layout, self.meta["seed"], self.arrays["indices"][rows])

    def check_regeneration(self) -> None:
        """Raise `UserError` if this NumPy draws other policies than the pool's NumPy did, by a checksum of a few."""
        if not self._draws_the_same:
            raise UserError(
                f"{self.folder} keeps its policies as seeds, drawn with NumPy {self.meta['versions']['numpy']}, but "
                f"NumPy {np.__version__} draws other numbers from them: install that version, or {_REMAKE}"
            )

    @functools.cached_property
    def _draws_the_same(self) -> bool:
        return "params" in self.arrays or params_checksum(self) == self.meta["params_checksum"]


def params_checksum(pool: Pool, count: int = 8) -> str:
    """Return a digest of the weights of a few policies spread over the pool."""
    rows = np.unique(np.linspace(0, len(pool) - 1, count).astype(int))
    return hashlib.sha256(pool._weights(rows).numpy().tobytes()).hexdigest()


def write_array(folder: Path, name: str, array: np.ndarray) -> None:
    """Write one array as `name.npy`."""
    np.save(folder / f"{name}.npy", array, allow_pickle=False)


@contextlib.contextmanager
def mapped_array(folder: Path, name: str, dtype: DTypeLike, *shape: int) -> Iterator[np.ndarray]:
    """Give an array of zeros that the block fills in `name.npy` itself, since memory need not hold it."""
    array = np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=dtype, shape=shape)
    yield array
    array.flush()


def write_meta(folder: Path, meta: dict[str, Any]) -> None:
    """Write `pool.json` with a digest and the shape of each array beside it."""
    arrays = {
        path.stem: {**_kind(np.load(path, mmap_mode="r")), "sha256": file_digest(path)}
        for path in sorted(folder.glob("*.npy"))
    }
    full = {"format_version": POOL_FORMAT, **meta, "arrays": arrays}
    # Not write_json, which would make an infinite bound of the observation box null.
    write_text(folder / "pool.json", json.dumps(full, indent=2) + "\n")


def _kind(array: np.ndarray) -> dict[str, Any]:
    return {"shape": list(array.shape), "dtype": str(array.dtype)}


def read_pool(folder: str | Path, *, verify: bool = True) -> Pool:
    """Open a pool and check that it is whole and unaltered; `verify` recomputes every array's digest, a second per GB.

    Raises:
        UserError: No pool there, a newer or foreign format, or an array that is missing, cut off or altered.
    """
    folder = Path(folder)
    meta = read_meta(folder)
    arrays = {}
    for name, expected in meta["arrays"].items():
        path = folder / f"{name}.npy"
        if not path.is_file():
            raise UserError(f"the pool {folder} lists {path.name}, but the file is missing: {_REMAKE}")
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise UserError(f"{path} is cut off or no array: {_REMAKE}") from error
        found = _kind(array)
        if any(found[key] != expected[key] for key in found):
            raise UserError(f"{path} should hold {expected['dtype']} {expected['shape']}, but holds {found}: {_REMAKE}")
        if verify and file_digest(path) != expected["sha256"]:
            raise UserError(f"{path} was altered after the pool was made (its SHA-256 differs): {_REMAKE}")
        arrays[name] = array
    try:
        layout, prior = Layout.from_dict(meta["layout"]), Prior(**meta["prior"])
    except (TypeError, KeyError) as error:
        raise UserError(f"{folder / 'pool.json'} describes no known layout or prior ({error}): {_REMAKE}") from error
    return Pool(folder, meta, layout, prior, arrays)


def read_meta(folder: Path) -> dict[str, Any]:
    """Return the contents of `pool.json`, with no array; `UserError` if it is missing, broken or of a newer format."""
    path = folder / "pool.json"
    if not path.is_file():
        raise UserError(
            f"expected a pool folder with a pool.json, but {folder} has none: make one with "
            "python -m lightning_pz.collect, or leave --data.pool out"
        )
    try:
        meta = json.loads(path.read_text())
        version = meta["format_version"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no pool description: {_REMAKE}") from error
    if version != POOL_FORMAT:
        raise UserError(
            f"{folder} is a pool of format {version}, but this version of lightning_pz reads format {POOL_FORMAT}: "
            f"update lightning_pz, or {_REMAKE}"
        )
    missing = {"env", "layout", "prior", "seed", "kept", "store", "arrays", "observation_mean", "states"} - set(meta)
    missing |= set(ARRAYS) - set(meta.get("arrays", {}))
    if missing:
        raise UserError(f"{path} lacks {', '.join(sorted(missing))}: {_REMAKE}")
    return meta
