"""What a run leaves behind, and how an interrupted one is found again.

`config.yaml` has every setting, `curve.csv` one row per evaluation, `events.*` the same for TensorBoard with
environment steps on the x axis, `identity.json` all that decides the result and `identity` its digest, and `state.pt`,
while the run is unfinished, where it stands. `policy.npz`, `policy.onnx` and, last of all, `summary.json` come with its end.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from lightning_pz.common.errors import UserError
from lightning_pz.common.files import alone, replacing, write_json, write_text
from lightning_pz.common.known_folders import Identity, claim, find

COLUMNS = ("env_steps", "seconds", "eval_return", "population_mean", "population_best", "sigma", "invalid")


class RunFolder:
    """One run on disk.

    Args:
        path: The folder.
        identity: All that decides the run's result.
        name: What the folder is called unless another run has that name; the name it has if not given.
    """

    def __init__(self, path: Path, identity: Identity, name: str | None = None) -> None:
        self.path, self.identity, self.name = path, identity, name or path.name

    @classmethod
    def find(cls, parents: Sequence[Path], name: str, identity: Identity) -> RunFolder:
        """Return the folder of this very run, finished, unfinished or new; see `known_folders.find`."""
        return cls(find(parents, name, identity), identity, name)

    @classmethod
    def claim(cls, parents: Sequence[Path], name: str, identity: Identity) -> RunFolder:
        """Return it as `find` does, and take a new one at once, so that no other run does."""
        return cls(claim(parents, name, identity), identity, name)

    @property
    def note(self) -> str | None:
        """Why a new run does not go on in the folder of its plain name, if another run has that; None otherwise."""
        first = self.path.with_name(self.name)
        told = None if self.path.exists() or first == self.path else self.identity.difference(first)
        return None if told is None else f"{first} is of another run ({told}); this one goes to {self.path.name}"

    @property
    def summary(self) -> dict[str, Any] | None:
        """The summary of a finished run, or None.

        Raises:
            UserError: It is cut off or something else.
        """
        path = self.path / "summary.json"
        try:
            return json.loads(path.read_text()) if path.is_file() else None
        except ValueError as error:
            raise UserError(f"{path} is cut off or altered: delete {self.path} to begin again") from error

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes off.

        Raises:
            UserError: One is at work in this folder.
        """
        with alone(self.path, wait=False):
            yield

    def begin(self, config: dict[str, Any]) -> None:
        """Write the settings of a new run."""
        self.identity.write(self.path)
        write_text(self.path / "config.yaml", yaml.safe_dump(config, sort_keys=False))

    def discard_if_empty(self) -> None:
        """Remove the folder of a run that failed before anything was worth keeping."""
        if self.summary is None and not (self.path / "state.pt").exists():
            shutil.rmtree(self.path, ignore_errors=True)

    def save(self, state: dict[str, Any]) -> None:
        """Write where the run stands, and its curve."""
        with replacing(self.path / "state.pt") as temporary:
            torch.save(state, temporary)
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
        file = io.StringIO(newline="")
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([[int(row[0]), round(row[1], 3), *row[2:6], int(row[6])] for row in rows])
        write_text(self.path / "curve.csv", file.getvalue())

    def finish(self, summary: dict[str, Any]) -> None:
        """Write the summary, last of all, and drop what only an unfinished run needs."""
        write_json(self.path / "summary.json", summary)
        (self.path / "state.pt").unlink(missing_ok=True)
