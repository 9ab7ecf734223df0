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
    record: str | None = (
        None  # SHA-256 of the evaluations.npz beside it, with the returns over its training; null for none
    )

    def find(self, logs: str) -> Path:
        """Return the file; `UserError` with the line that brings it, if it is not there or another one."""
        return self._find(logs, self.file, self.digest)

    def find_record(self, logs: str) -> Path | None:
        """Return the record of its training, if the study names one; `UserError` like `find`."""
        name = str(Path(self.file).with_name("evaluations.npz"))
        return None if self.record is None else self._find(logs, name, self.record)

    def _find(self, logs: str, file: str, digest: str) -> Path:
        clone = Path(logs) / "published" / slug("-".join(Path(self.repository).parts[-2:]))
        path, place, commit = clone / file, shlex.quote(str(clone)), shlex.quote(self.commit)
        # What lies beside it too, such as the record of its training. Other files of the repository are not downloaded.
        folder = self.file if len(Path(self.file).parts) == 1 else str(Path(self.file).parent)
        bring = f"git -C {place} checkout {commit} -- {shlex.quote(folder)}"
        if not path.is_file():
            clones = f"git clone --filter=blob:none --no-checkout {shlex.quote(self.repository)} {place}"
            first = f"git -C {place} fetch origin {commit}" if clone.is_dir() else clones
            raise UserError(f"expected the published file {path}: {first} && {bring}")
        if (found := file_digest(path)) != digest:
            is_pointer = path.read_bytes()[:40].startswith(b"version https://git-lfs")
            what = "a pointer of Git LFS, which wants git-lfs installed" if is_pointer else "another file"
            raise UserError(f"{path} is {what} (SHA-256 {found}, but the study names {digest}): {bring}")
        return path
