"""What a run leaves behind, and how an interrupted one is found again.

`config.yaml` has every setting, `curve.csv` one row per evaluation, `events.*` the same for TensorBoard with
environment steps on the x axis, `identity` the digest of what decides the result, and `state.pt`, while the run is
unfinished, where it stands. `policy.npz`, `policy.onnx` and, last of all, `summary.json` come with its end.
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import hashlib
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml

from lightning_pz.errors import UserError

COLUMNS = ("env_steps", "seconds", "eval_return", "population_mean", "population_best", "sigma", "invalid")


def digest(identity: dict[str, Any]) -> str:
    """Return a short name of everything that decides a run's result."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


class RunFolder:
    """One run on disk.

    Args:
        path: The folder.
        identity: Digest of the run's settings.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self.path, self.identity = path, identity

    @classmethod
    def find(cls, parent: Path, name: str, identity: str) -> RunFolder:
        """Return the folder of this very run, finished, unfinished or new.

        A folder of this name that belongs to other settings stays as it is; the run gets a number behind its name.
        """
        for number in itertools.count(1):
            path = parent / (name if number == 1 else f"{name}-{number:03d}")
            found = _identity_of(path)
            if found is None or found == identity:
                return cls(path, identity)
        raise AssertionError("unreachable")

    @property
    def summary(self) -> dict[str, Any] | None:
        """The summary of a finished run, or None."""
        path = self.path / "summary.json"
        return json.loads(path.read_text()) if path.is_file() else None

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes off.

        Raises:
            UserError: One is at work in this folder.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(
                    f"another process is at work on {self.path}: wait for it, or choose another --seed or --logs"
                ) from error
            yield

    def begin(self, config: dict[str, Any]) -> None:
        """Write the settings of a new run."""
        _replace(self.path / "identity", (self.identity + "\n").encode())
        _replace(self.path / "config.yaml", yaml.safe_dump(config, sort_keys=False).encode())

    def save(self, state: dict[str, Any]) -> None:
        """Write where the run stands, and its curve."""
        temporary = self.path / "state.pt.tmp"
        torch.save(state, temporary)
        temporary.replace(self.path / "state.pt")
        self.write_curve(state["rows"])

    def load(self, types: tuple[type, ...]) -> dict[str, Any] | None:
        """Return what `save` was given, or None if there is nothing to go on from.

        Raises:
            UserError: The file is broken.
        """
        path = self.path / "state.pt"
        if not path.is_file():
            return None
        try:
            with torch.serialization.safe_globals(list(types)):
                return torch.load(path, weights_only=True)
        except Exception as error:
            raise UserError(
                f"{path} cannot be read ({type(error).__name__}: {error}): delete {self.path} to begin again"
            ) from error

    def write_curve(self, rows: list[list[float]]) -> None:
        """Write curve.csv anew."""
        temporary = self.path / "curve.csv.tmp"
        with temporary.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows([[int(row[0]), round(row[1], 3), *row[2:6], int(row[6])] for row in rows])
        temporary.replace(self.path / "curve.csv")

    def finish(self, summary: dict[str, Any]) -> None:
        """Write the summary, last of all, and drop what only an unfinished run needs."""
        _replace(self.path / "summary.json", (json.dumps(summary, indent=2) + "\n").encode())
        (self.path / "state.pt").unlink(missing_ok=True)


def _identity_of(path: Path) -> str | None:
    """Return the digest a folder belongs to; None for one that holds no run yet."""
    file = path / "identity"
    if file.is_file():
        return file.read_text().strip()
    rest = {entry.name for entry in path.iterdir()} - {".lock"} if path.is_dir() else set()
    # Something else lies there: it is not ours to touch.
    return "unknown" if rest else None


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
