"""The journal of a study, one JSON record a line: what a full disk or a power loss leaves of it is opened again."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from lightning_pz.common.files import explained, file_digest, write_bytes


class Journal(JournalFileBackend):
    """Optuna's journal file, mended when it is opened and after a record that could not be written whole.

    Args:
        path: The file; made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if path.is_file():
            mend(path)
        super().__init__(str(path))

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append records.

        Raises:
            UserError: The disk is full; the journal ends with its last whole record.
        """
        with explained(self._path):
            try:
                super().append_logs(logs)
            except OSError:
                mend(self._path)
                raise


def mend(path: Path) -> Path | None:
    """Cut a journal behind its last whole record, and return the copy of what it was; None if nothing is broken.

    A record behind a broken one is cut too, for it may speak of what the broken one began. What is cut is said on the
    error stream.
    """
    content = path.read_bytes()
    if _whole_records(content)[0] == content:
        return None
    # Optuna appends under this lock: a record that is being written is not a broken one.
    lock = JournalFileSymlinkLock(str(path))
    lock.acquire()
    try:
        content = path.read_bytes()
        kept, records, lost = _whole_records(content)
        if kept == content:
            return None
        copy = path.with_name(f"{path.name}.broken-{file_digest(path)[:8]}")
        write_bytes(copy, content)
        # In place, for other processes may have the file open.
        with path.open("r+b") as file:
            file.truncate(min(len(kept), len(content)))
            file.seek(0, 2)
            file.write(kept[len(content) :])
    finally:
        lock.release()
    print(
        f"note: {path} was cut off or broken behind record {records:,}: the study resumes from there"
        + (f", {lost:,} later records are left out" if lost else "")
        + f", and the file as it was is kept as {copy}",
        file=sys.stderr,
    )
    return copy


def _whole_records(content: bytes) -> tuple[bytes, int, int]:
    """Return the whole records from the start of a journal, how many they are, and how many whole ones come later."""
    lines = io.BytesIO(content).readlines()
    whole = [_is_record(line) for line in lines]
    count = whole.index(False) if False in whole else len(whole)
    kept = b"".join(lines[:count])
    # A record whose end of line alone is missing is whole.
    return (kept if not kept or kept.endswith(b"\n") else kept + b"\n"), count, sum(whole[count:])


def _is_record(line: bytes) -> bool:
    try:
        record = json.loads(line)
    except ValueError:
        return False
    return isinstance(record, dict) and "op_code" in record
