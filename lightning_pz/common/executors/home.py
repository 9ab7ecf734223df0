"""What a worker must share with the command: the code, the libraries that decide results, and the folder of relative paths."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lightning_pz.common.errors import UserError
from lightning_pz.common.version import library_version, package_version

_LIBRARIES = ("torch", "numpy", "mujoco", "gymnasium")
_ONE_PIECE = threading.Lock()


@dataclass(frozen=True)
class Home:
    """Where a command runs."""

    folder: str
    versions: Mapping[str, str]

    @classmethod
    def of_this_process(cls) -> Home:
        """Return the home of this process."""
        return cls(str(Path.cwd()), versions_here())


@functools.cache
def versions_here() -> dict[str, str]:
    """Return the versions on which results depend, of lightning_pz by content; builds of one version count as one."""
    found = {name: library_version(name) for name in _LIBRARIES}
    return {"lightning_pz": package_version(), "Python": ".".join(platform.python_version_tuple()[:2]), **found}


@contextlib.contextmanager
def enter(home: Home) -> Iterator[None]:
    """Run a block on a worker as if it were in the command's folder, one block at a time.

    Two pieces in threads of one process would share its random generators. Raises `UserError` if the worker has other versions.
    """
    here = versions_here()
    for name, wanted in home.versions.items():
        if here.get(name) != wanted:
            raise UserError(
                f"the worker on {socket.gethostname()} has {name} {here.get(name)}, but the command runs {wanted}: install the "
                "same version on both"
            )
    with _ONE_PIECE:
        if str(Path.cwd()) != home.folder and Path(home.folder).is_dir():
            os.chdir(home.folder)
        if home.folder not in sys.path and "" not in sys.path:
            sys.path.append(home.folder)  # tasks and environments of the user's own
        yield
