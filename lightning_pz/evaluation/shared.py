"""Episodes that do not depend on a checkpoint, kept for the next one by the content of everything that decides them."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightning_pz.common.files import replacing
from lightning_pz.common.identity import digest
from lightning_pz.envs.rollout import Rollouts


def kept(
    folder: Path, group: str, content: Mapping[str, Any], tasks: Sequence[str], make: Callable[[], Rollouts]
) -> Rollouts:
    """Return what `make` returns, or what it returned the last time that equal content decided it.

    Args:
        folder: Where such episodes are kept.
        group: What to call them.
        content: Everything that decides them, as plain data.
        tasks: Names of the tasks, whose returns they hold.
        make: Plays them.
    """
    path = folder / f"{group}-{digest([group, content])[:16]}.npz"
    if (found := _read(path, tasks)) is not None:
        return found
    result = make()
    arrays = {f"returns/{name}": value for name, value in result.returns.items()}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, lengths=result.lengths, valid=result.valid, **arrays)
    return result


def _read(path: Path, tasks: Sequence[str]) -> Rollouts | None:
    """Return what a file holds; None if there is none, or one that was cut."""
    try:
        with path.open("rb") as file, np.load(file) as found:
            return Rollouts(found["lengths"], found["valid"], {name: found[f"returns/{name}"] for name in tasks})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
