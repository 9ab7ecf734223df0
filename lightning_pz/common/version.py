"""Which version of the package this is, by number and by content. Imports nothing heavy."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
from pathlib import Path

__version__ = "0.1.0"


@functools.cache
def package_version() -> str:
    """Return the version with eight digits of the SHA-256 of all source files, which an edited copy does not share."""
    root, total = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        total.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return f"{__version__} ({total.hexdigest()[:8]})"


def library_version(name: str) -> str:
    """Return the version of an installed package; builds of one version, such as PyTorch's for a GPU, count as one."""
    return importlib.metadata.version(name).partition("+")[0]
