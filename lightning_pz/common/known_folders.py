"""Folders known by the content of all that decides what is in them; names are for people.

A result is found again by its identity, whatever its folder is called, and two that differ never share a folder: the
second gets a number behind its name. Imports nothing heavy.
"""

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
"""Files beside a result: its identity as plain data, to name a difference, and the digest of that, to find it."""


@dataclass(frozen=True)
class Identity:
    """What decides a result.

    Attributes:
        content: Plain data.
        earlier: Digests by which earlier versions knew the very same result. Leave them out where theirs left out
            something that matters here.
    """

    content: Mapping[str, Any]
    earlier: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits."""
        return digest(self.content)[:16]

    def write(self, folder: Path) -> None:
        """Mark a folder, made if it is missing, as holding this result."""
        # Not write_json, which would make the end of an infinite box null.
        write_text(folder / WHOLE, json.dumps(self.content, indent=2) + "\n")
        write_text(folder / SHORT, self.digest + "\n")

    def is_of(self, folder: Path) -> bool:
        """Return whether a folder holds this result, or is marked as the place for it."""
        return _mark(folder) in (self.digest, *self.earlier)

    def difference(self, folder: Path) -> str | None:
        """Return the first difference to what a folder holds, such as `budget is 5, not 50`; None if it does not tell."""
        try:
            kept = json.loads((folder / WHOLE).read_text())
        except (OSError, ValueError):
            return None
        return first_difference(kept, self.content)


def find(parents: Sequence[Path], name: str, identity: Identity) -> Path:
    """Return the folder of a result, or the place for it: a folder of this name below the first parent, or with a number.

    Args:
        parents: Where to look, whatever the folders there are called.
        name: What to call a new one; safe for a file system.
        identity: What decides the result.
    """
    for parent in parents:
        for mark in sorted(parent.glob(f"*/{SHORT}")):
            if identity.is_of(mark.parent):
                return mark.parent
    for number in itertools.count(1):
        folder = parents[0] / (name if number == 1 else f"{name}-{number:03d}")
        if _is_free(folder):
            return folder
    raise AssertionError("unreachable")


def claim(parents: Sequence[Path], name: str, identity: Identity) -> Path:
    """Return the folder of a result as `find` does, and mark a new one at once, so that no other process takes it.

    Raises:
        UserError: The folder cannot be written to.
    """
    with alone(parents[0]):
        folder = find(parents, name, identity)
        if not identity.is_of(folder):
            identity.write(folder)
    return folder


def _mark(folder: Path) -> str | None:
    try:
        return (folder / SHORT).read_text().strip()
    except (OSError, ValueError):
        return None


def _is_free(folder: Path) -> bool:
    """Return whether nothing but locks lies there: something else is not ours to touch."""
    if not folder.is_dir():
        return not folder.exists()
    return all(entry.name.startswith(".") for entry in folder.iterdir())
