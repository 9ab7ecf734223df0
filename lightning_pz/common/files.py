"""Files and folders written whole or not at all, locks between processes, safe names. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import math
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lightning_pz.common.errors import UserError

_LONGEST_NAME = 120  # letters of a file name made from text; file systems allow 255 bytes, and run names add to it
_MADE_HERE = re.compile(r"(^|-)[0-9a-f]{8}$")


def temporary_beside(path: Path) -> Path:
    """Return a path beside `path` that no other process or thread uses, named by host and process for `remove_leftovers`."""
    return path.with_name(f".{path.name}.{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path that replaces the file `path` if the block succeeds and vanishes if it fails.

    A reader sees the old content or the new one, never a part. Missing parent folders are made. Raises as `explained`.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        with explained(path):
            yield temporary
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole; see `replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file whole, its line ends as they are in `text`; see `replacing`."""
    write_bytes(path, text.encode())


def write_json(path: Path, plain: Any) -> None:
    """Write plain data as indented JSON, whole; a number that is not finite becomes null, for JSON has no NaN."""
    write_text(path, json.dumps(_finite(plain), indent=2, allow_nan=False) + "\n")


@contextlib.contextmanager
def new_folder(target: Path, needed_bytes: int = 0) -> Iterator[Path]:
    """Give a temporary folder that becomes `target` if the block succeeds and vanishes if it fails.

    `UserError`: too little free space, the disk fills up, or `target` appears meanwhile with something in it.
    """
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target.parent).free
    if needed_bytes > free:
        raise UserError(
            f"{target} needs {needed_bytes / 1e9:.1f} GB, but its disk has {free / 1e9:.1f} GB free: make room, keep "
            "fewer policies, or store seeds instead of params (--store seeds)"
        )
    remove_leftovers(target)
    temporary = temporary_beside(target)
    try:
        with explained(target):
            temporary.mkdir()
            yield temporary
            temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def claim_folder(target: Path) -> bool:
    """Make a folder and return whether it is this call that made it; of several processes one gets it."""
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            target.mkdir()
        except FileExistsError:
            return False
    return True


def check_writable(folder: Path) -> None:
    """Raise `UserError` unless files can be made in a folder, or in the nearest one above it that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    with explained(folder):
        probe = temporary_beside(folder / "probe")
        probe.touch()
        probe.unlink()


def remove_leftovers(target: Path) -> None:
    """Remove temporary files and folders of `target` whose process on this machine has ended: a kill left them behind."""
    for leftover in target.parent.glob(f".{glob.escape(target.name)}.{glob.escape(_host())}-*.tmp"):
        process = leftover.name.rsplit("-", 2)[-2]
        if process.isdigit() and not _is_alive(int(process)):
            shutil.rmtree(leftover, ignore_errors=True) if leftover.is_dir() else leftover.unlink(missing_ok=True)


@contextlib.contextmanager
def alone(target: Path, *, wait: bool = True, on_wait: Callable[[], Any] | None = None) -> Iterator[None]:
    """Hold a lock beside `target`, which need not exist, so that one process at a time works on it.

    The lock file is `.<name>.lock` in its parent folder; the lock of a killed process is free. `on_wait` is called every
    second while another process holds it. `UserError` if one does, `wait` is False and there is no `on_wait`, or the folder
    cannot be written to.
    """
    forever = wait and on_wait is None
    lock = FileLock(target.with_name(f".{target.name}.lock"), timeout=-1 if forever else 0, is_singleton=False)
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                lock.acquire()
                break
            except Timeout as error:
                if on_wait is None:
                    raise UserError(
                        f"another process is at work on {target}: wait for it, or choose another name, --seed or --logs"
                    ) from error
            on_wait()
            time.sleep(1)
    try:
        yield
    finally:
        lock.release()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def slug(text: str) -> str:
    """Return a text in lower-case letters, digits, underscores and hyphens, for people; two texts may share one."""
    return re.sub(r"[^a-z0-9_]+", "-", text.lower()).strip("-")


def safe_name(text: str) -> str:
    """Return a name for a file or folder that two different texts never share and that never leaves its folder.

    It is the text itself where that is made of lower-case letters, digits, underscores and single inner hyphens;
    otherwise, and where it ends as if it had been made here, its slug and eight digits of its SHA-256.
    """
    plain = slug(text)
    if plain and plain == text and len(plain) <= _LONGEST_NAME and not _MADE_HERE.search(plain):
        return plain
    return f"{plain[:_LONGEST_NAME].strip('-')}-{hashlib.sha256(text.encode()).hexdigest()[:8]}".lstrip("-")


def _host() -> str:
    return slug(socket.gethostname()) or "host"


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError as error:  # any other: it belongs to another user
        return not isinstance(error, ProcessLookupError)
    return True


def _finite(plain: Any) -> Any:
    if isinstance(plain, Mapping):
        return {key: _finite(value) for key, value in plain.items()}
    if isinstance(plain, Sequence) and not isinstance(plain, str):
        return [_finite(value) for value in plain]
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the errors of a disk into a `UserError`; other errors pass."""
    try:
        yield
    except OSError as error:
        why, other = error.strerror, error.filename2 or error.filename
        full = f"the disk is full while writing {path}: make room and run the command again"
        closed = f"{path} cannot be written ({why}): give --logs a folder that you may write to"
        taken = f"{path} cannot be made ({why}): something else lies at {other}; move it away, or give another name"
        sentences = dict.fromkeys((errno.ENOSPC, errno.EDQUOT), full)
        sentences |= dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), closed)
        sentences |= dict.fromkeys((errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR), taken)
        if error.errno in sentences:
            raise UserError(sentences[error.errno]) from error
        raise
