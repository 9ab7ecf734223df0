"""Trained networks that others published: files of a git repository, known by their content."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from lightning_pz.common.errors import UserError
from lightning_pz.common.files import file_digest


@dataclass(frozen=True)
class Published:
    """A file of a commit of a repository, which lies as a clone in `LOGS/published`."""

    repository: str  # address to clone
    commit: str
    file: str  # its path in the repository
    digest: str  # SHA-256 of its bytes, in hexadecimal digits

    def find(self, logs: str) -> Path:
        """Return the file; `UserError` with the line that brings it, if it is not there or another one."""
        clone = Path(logs) / "published" / Path(self.repository).name
        path, place = clone / self.file, shlex.quote(str(clone))
        # What lies beside it too: the record of its training. Other files of the repository are not downloaded.
        bring = f"git -C {place} checkout {self.commit} -- {shlex.quote(str(Path(self.file).parent))}"
        if not path.is_file():
            clones = f"git clone --filter=blob:none --no-checkout {shlex.quote(self.repository)} {place} && "
            raise UserError(f"expected the published policy {path}: {'' if clone.is_dir() else clones}{bring}")
        if (found := file_digest(path)) != self.digest:
            raise UserError(
                f"{path} is another file than the study names (SHA-256 {found}, expected {self.digest}): {bring}"
            )
        return path
