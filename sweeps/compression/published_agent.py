"""Trained networks that others published: files of a git repository, known by their content."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from lightning_pz.common.errors import UserError
from lightning_pz.common.files import file_digest, slug


@dataclass(frozen=True)
class PublishedAgent:
    """A file of a commit of a repository, which lies as a clone in `LOGS/published`, and where it learned."""

    repository: str  # address to clone
    commit: str
    file: str  # its path in the repository
    digest: str  # SHA-256 of its bytes, in hexadecimal digits
    learned_in: str  # id of the environment, as published: often of an earlier version

    def find(self, logs: str) -> Path:
        """Return the file; `UserError` with the line that brings it, if it is not there or another one."""
        clone = Path(logs) / "published" / slug("-".join(Path(self.repository).parts[-2:]))
        path, place, commit = clone / self.file, shlex.quote(str(clone)), shlex.quote(self.commit)
        # What lies beside it too, such as the record of its training. Other files of the repository are not downloaded.
        folder = self.file if len(Path(self.file).parts) == 1 else str(Path(self.file).parent)
        bring = f"git -C {place} checkout {commit} -- {shlex.quote(folder)}"
        if not path.is_file():
            clones = f"git clone --filter=blob:none --no-checkout {shlex.quote(self.repository)} {place}"
            first = f"git -C {place} fetch origin {commit}" if clone.is_dir() else clones
            raise UserError(f"expected the published policy {path}: {first} && {bring}")
        if (found := file_digest(path)) != self.digest:
            is_pointer = path.read_bytes()[:40].startswith(b"version https://git-lfs")
            what = "a pointer of Git LFS, which wants git-lfs installed" if is_pointer else "another file"
            raise UserError(f"{path} is {what} (SHA-256 {found}, but the study names {self.digest}): {bring}")
        return path
