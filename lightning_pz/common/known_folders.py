"""Folders of results, found again by their identity; a second result of a name gets a number. Imports nothing heavy."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_pz.common.files import alone, write_text
from lightning_pz.common.identity import digest, first_difference

WHOLE, SHORT = "identity.json", "identity"
"""Files beside a result: its identity as plain data, to name a difference, and the digest of it, to find it."""


@dataclass(frozen=True)
class Identity:
    """Everything that decides a result, as plain data."""

    content: Mapping[str, Any]
    # digests by which earlier versions knew the very same result, unless they omitted something that matters
    earlier: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits."""
        return digest(self.content)[:16]

    def write(self, folder: Path) -> None:
        """Mark a folder as that of this result; make it if it is missing."""
        # Not write_json, which would make an infinite bound null.
        write_text(folder / WHOLE, json.dumps(self.content, indent=2) + "\n")
        write_text(folder / SHORT, self.digest + "\n")

    def is_of(self, folder: Path) -> bool:
        """Return whether a folder holds this result, or is marked as the place for it."""
        try:
            return (folder / SHORT).read_text().strip() in (self.digest, *self.earlier)
        except (OSError, ValueError):
            return False

    def difference(self, folder: Path) -> str | None:
        """Return the first difference to what a folder holds, such as `budget is 5, not 50`; None if it is not known."""
        try:
            kept = json.loads((folder / WHOLE).read_text())
        except (OSError, ValueError):
            return None
        return first_difference(kept, self.content)


def find(parents: Sequence[Path], name: str, identity: Identity) -> Path:
    """Return the folder of a result among the folders in `parents`, or a free one, `name` with a number if needed.

    A new folder is to be made below the first parent; the name must be safe for a file system.
    """
    for parent in parents:
        for mark in sorted(parent.glob(f"*/{SHORT}")):
            if identity.is_of(mark.parent):
                return mark.parent
    names = (name if number == 1 else f"{name}-{number:03d}" for number in itertools.count(1))
    # A free folder has nothing in it but locks and other hidden files.
    return next(
        folder
        for folder in (parents[0] / one for one in names)
        if not folder.exists() or (folder.is_dir() and all(entry.name.startswith(".") for entry in folder.iterdir()))
    )


def claim(parents: Sequence[Path], name: str, identity: Identity) -> Path:
    """Return the folder of a result as `find` does, and mark a new one at once, so that no other process takes it."""
    with alone(parents[0]):
        folder = find(parents, name, identity)
        if not identity.is_of(folder):
            identity.write(folder)
    return folder
