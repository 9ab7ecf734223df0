"""The folder of one run: settings and identity at its beginning, state on the way, summary last.

They are `config.yaml`, `identity.json` with its digest in `identity`, `state.pt` and `summary.json`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml

from lightning_pz.common.errors import UserError
from lightning_pz.common.files import alone, replacing, write_json, write_text
from lightning_pz.common.identity import first_difference
from lightning_pz.common.known_folders import Identity
from lightning_pz.common.tracking.settings import Loggers
from lightning_pz.common.version import library_version

if TYPE_CHECKING:
    from lightning_pz.common.tracking.tracker import Tracker


class RunFolder:
    """One run on disk: its folder, all that decides its result, and where its numbers go meanwhile."""

    def __init__(self, path: Path, identity: Identity, loggers: Loggers = Loggers()) -> None:  # noqa: B008  frozen
        self.path, self.identity, self.loggers = path, identity, loggers

    def tracker(self, purge_step: int | None = None) -> Tracker:
        """Return what takes the run's numbers; what an interrupted sitting logged from `purge_step` on does not count."""
        from lightning_pz.common.tracking.tracker import Tracker

        return Tracker.of(self.loggers, self.path, purge_step)

    def note(self, name: str) -> str | None:
        """Return why a new run is not in the folder of its plain name, if another run has that; None otherwise."""
        first = self.path.with_name(name)
        if self.path.exists() or first == self.path or (difference := self.identity.difference(first)) is None:
            return None
        return f"{first} is of another run ({difference}); this one goes to {self.path.name}"

    @property
    def summary(self) -> dict[str, Any] | None:
        """The summary of a finished run, or None; `UserError` if it is cut off or something else."""
        path = self.path / "summary.json"
        try:
            return json.loads(path.read_text()) if path.is_file() else None
        except ValueError as error:
            raise UserError(f"{path} is cut off or altered: delete {self.path} to begin again") from error

    def lock(self, on_locked: Callable[[], Any] | None = None) -> AbstractContextManager[None]:
        """Return a lock on the folder; entering it raises `UserError` if another process holds it.

        With `on_locked` it waits for that process instead, and calls this every second.
        """
        return alone(self.path, wait=False, on_wait=on_locked)

    def begin(self, config: dict[str, Any], note: str = "") -> None:
        """Write the settings of a new run, under a comment of one line if there is a note."""
        self.identity.write(self.path)
        head = f"# {note}\n" if note else ""
        write_text(self.path / "config.yaml", head + yaml.safe_dump(config, sort_keys=False))

    def discard_if_empty(self) -> None:
        """Remove the folder of a run that failed before it had a result or a state."""
        if self.summary is None and not (self.path / "state.pt").exists():
            shutil.rmtree(self.path, ignore_errors=True)

    def save_state(self, state: dict[str, Any]) -> None:
        """Write the state of an unfinished run, with the packages that compute it."""
        with replacing(self.path / "state.pt") as temporary:
            torch.save({"state": state, "computed_by": _computed_by()}, temporary)

    def load_state(self, types: Sequence[type | tuple[type, str]]) -> dict[str, Any] | None:
        """Return the saved state, or None if there is none; `UserError` if the file is broken, or of other packages.

        `types` are classes that the state may hold, with the dotted name under which each was saved if it has moved.
        """
        path = self.path / "state.pt"
        if not path.is_file():
            return None
        try:
            with torch.serialization.safe_globals(list(types)):
                saved = torch.load(path, weights_only=True)
        except Exception as error:
            raise UserError(
                f"{path} cannot be read ({type(error).__name__}: {error}): delete {self.path} to begin again"
            ) from error
        if "computed_by" not in saved:
            return saved  # of an earlier version
        if (told := first_difference(saved["computed_by"], _computed_by())) is not None:
            raise UserError(
                f"{self.path} holds an unfinished run that other packages began: {told}. What goes on with them would be another "
                f"run: install those again, or delete {self.path} to begin again"
            )
        return saved["state"]

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write the summary, last of all, and remove the state."""
        write_json(self.path / "summary.json", summary)
        (self.path / "state.pt").unlink(missing_ok=True)


def _computed_by() -> dict[str, str]:
    """Return the versions of the packages on which every number depends; a whole run may be of any, but of one."""
    return {name: library_version(name) for name in ("torch", "numpy")}
