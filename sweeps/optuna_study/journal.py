"""The journal of a study, one JSON record a line, which is repaired after a full disk or a power loss."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from lightning_pz.common.files import explained, file_digest, write_bytes


class Journal(JournalFileBackend):
    """Optuna's journal file, repaired when it is opened and after a record that could not be written whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        if path.is_file():
            mend(path)
        super().__init__(str(path))

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append records; after the `UserError` of a full disk, the journal ends with its last whole record."""
        with explained(self._path):
            try:
                super().append_logs(logs)
            except OSError:
                mend(self._path)
                raise


def mend(path: Path) -> Path | None:
    """Cut a journal behind its last whole record, and return the copy of what it was; None if nothing is broken.

    Records behind a broken one are cut too, for they may refer to what the broken one began. A note on the error stream
    says what is cut.
    """
    if _whole_records(content := path.read_bytes())[0] == content:
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
    later = f", {lost:,} later records are left out" if lost else ""
    print(
        f"note: {path} was cut off or broken behind record {records:,}: the study resumes from there{later}, and the file "
        f"as it was is kept as {copy}",
        file=sys.stderr,
    )
    return copy


def _whole_records(content: bytes) -> tuple[bytes, int, int]:
    """Return the whole records from the start of a journal, how many they are, and how many whole ones come later."""
    lines = io.BytesIO(content).readlines()
    whole = [_is_record(line) for line in lines]
    count = [*whole, False].index(False)
    kept = b"".join(lines[:count])
    # A record that lacks only the end of its line is whole.
    return (kept if not kept or kept.endswith(b"\n") else kept + b"\n"), count, sum(whole[count:])


def _is_record(line: bytes) -> bool:
    try:
        record = json.loads(line)
    except ValueError:
        return False
    return isinstance(record, dict) and "op_code" in record
