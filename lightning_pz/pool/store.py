"""A pool on disk: written whole or not at all, checked before it is believed, read without copying."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_pz.errors import UserError
from lightning_pz.policy import Layout, PolicyNetwork, Prior, draw_params

FORMAT_VERSION = 1
ARRAYS = ("indices", "states", "fingerprints", "actions", "novelty")
_REMAKE = "delete the folder and run the command again to make it anew"


@dataclass(frozen=True)
class Pool:
    """Kept policies, their behavior on the state sample, and the recipe that made them.

    Attributes:
        folder: Where it lies.
        meta: The contents of `pool.json`.
        layout: Shape of the policies.
        prior: Distribution they were drawn from.
        arrays: Read-only memory maps: `indices` (N,) of the kept candidates, `states` (S, O) raw,
            `fingerprints` (N, M, A) float32, `actions` (N, S - M, A) float16 on the states that are not probe
            states, `novelty` (N,), and `params` (N, P) float32 where they are stored. A grown pool holds also
            `outcomes` (N, D), `visited` (N, m, O) raw states of each policy's own episode, `origins`, `directions`,
            `rounds`, `lengths` (N,), `returns` (N, T) of its tasks in that episode, and `functionals` (K, D).
    """

    folder: Path
    meta: dict[str, Any]
    layout: Layout
    prior: Prior
    arrays: dict[str, np.ndarray]

    def __len__(self) -> int:
        return int(self.meta["kept"])

    @property
    def digest(self) -> str:
        """SHA-256 that tells these policies from those of any other pool."""
        # Drawn policies are known by their numbers, found ones by their weights alone.
        name = "params" if self.meta.get("recipe") == "grown" else "indices"
        return self.meta["arrays"][name]["sha256"]

    @property
    def network(self) -> PolicyNetwork:
        """What the policies share: standardization, shape, action box."""
        meta = self.meta
        return PolicyNetwork(
            self.layout,
            torch.tensor(meta["observation_mean"]),
            torch.tensor(meta["observation_std"]),
            torch.tensor(meta["env"]["action_low"]),
            torch.tensor(meta["env"]["action_high"]),
        )

    def params(self, rows: np.ndarray) -> Float[Tensor, "policies params"]:
        """Return the weights of some kept policies, read or drawn again from their seeds, (len(rows), P)."""
        if "params" in self.arrays:
            return torch.from_numpy(self.arrays["params"][rows])
        return draw_params(self.prior, self.layout, self.meta["seed"], self.arrays["indices"][rows])

    def check_regeneration(self) -> None:
        """Draw a few policies again and compare with the checksum taken when the pool was made.

        Raises:
            UserError: They differ, so this NumPy does not draw what the pool's NumPy drew.
        """
        if self.meta["store"] == "seeds" and params_checksum(self) != self.meta["params_checksum"]:
            raise UserError(
                f"{self.folder} keeps its policies as seeds, drawn with NumPy {self.meta['versions']['numpy']}, but "
                f"NumPy {np.__version__} draws other numbers from them: install that version, or {_REMAKE}"
            )


def params_checksum(pool: Pool, count: int = 8) -> str:
    """Return a digest of the weights of a few policies spread over the pool."""
    rows = np.unique(np.linspace(0, len(pool) - 1, count).astype(int))
    return hashlib.sha256(pool.params(rows).numpy().tobytes()).hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def new_folder(target: Path, needed_bytes: int) -> Iterator[Path]:
    """Give a temporary folder that becomes `target` if the block succeeds and vanishes if it does not.

    Raises:
        UserError: Not enough free space, or the disk runs full on the way.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target.parent).free
    if needed_bytes > free:
        raise UserError(
            f"{target} needs {needed_bytes / 1e9:.1f} GB, but its disk has {free / 1e9:.1f} GB free: make room, keep "
            "fewer policies, or store seeds instead of params (--store seeds)"
        )
    remove_leftovers(target)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    temporary.mkdir()
    try:
        yield temporary
        temporary.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"the disk ran full while writing {target}: make room and run the command again") from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(target: Path) -> None:
    """Remove temporary folders of this target whose process is gone: a killed run left them behind."""
    for leftover in target.parent.glob(f".{target.name}.*.tmp"):
        if not Path(f"/proc/{leftover.name.split('.')[-2]}").exists():
            shutil.rmtree(leftover, ignore_errors=True)


def write_array(folder: Path, name: str, array: np.ndarray) -> None:
    """Write one array as `name.npy`."""
    np.save(folder / f"{name}.npy", array, allow_pickle=False)


def write_meta(folder: Path, meta: dict[str, Any]) -> None:
    """Write `pool.json` with a digest and the shape of each array beside it."""
    arrays = {}
    for path in sorted(folder.glob("*.npy")):
        array = np.load(path, mmap_mode="r")
        arrays[path.stem] = {"shape": list(array.shape), "dtype": str(array.dtype), "sha256": file_digest(path)}
    full = {"format_version": FORMAT_VERSION, **meta, "arrays": arrays}
    (folder / "pool.json").write_text(json.dumps(full, indent=2) + "\n")


def read_pool(folder: Path, *, verify: bool = True) -> Pool:
    """Open a pool and check that it is whole and what it says it is.

    Args:
        folder: Its folder.
        verify: Recompute every array's digest: about a second per GB.

    Raises:
        UserError: No pool there, a newer or foreign format, or an array that is missing, cut off or altered.
    """
    meta = _read_meta(folder)
    arrays = {}
    for name, expected in meta["arrays"].items():
        path = folder / f"{name}.npy"
        if not path.is_file():
            raise UserError(f"the pool {folder} lists {path.name}, but the file is missing: {_REMAKE}")
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise UserError(f"{path} is cut off or no array: {_REMAKE}") from error
        found = {"shape": list(array.shape), "dtype": str(array.dtype)}
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


def _read_meta(folder: Path) -> dict[str, Any]:
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
    if version != FORMAT_VERSION:
        raise UserError(
            f"{folder} is a pool of format {version}, but this version of lightning_pz reads format {FORMAT_VERSION}: "
            f"update lightning_pz, or {_REMAKE}"
        )
    missing = {"env", "layout", "prior", "seed", "kept", "store", "arrays", "observation_mean"} - set(meta)
    missing |= set(ARRAYS) - set(meta.get("arrays", {}))
    if missing:
        raise UserError(f"{path} lacks {', '.join(sorted(missing))}: {_REMAKE}")
    return meta
