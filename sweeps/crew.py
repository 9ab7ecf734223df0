"""Spreads the independent parts of a study over the workers of an engine, or does them here, one after another.

A piece is a function, importable by name, of plain settings and of files in the folder of logs, which all workers share; it
is safe to run twice. What it returns depends on neither engine nor workers: every piece computes with one thread.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lightning_pz.common.errors import UserError
from lightning_pz.common.executors import Engine, open_executor, run_pieces
from lightning_pz.common.files import remove_leftovers, temporary_beside, write_text
from lightning_pz.common.processes import interrupted_by_signals
from sweeps.options import EngineOptions, SearchOptions

_Part = TypeVar("_Part")
_Made = TypeVar("_Made")
_EVERY = 1.0  # seconds between two looks of a piece at the file that says stop


@contextlib.contextmanager
def open_crew(options: EngineOptions | SearchOptions, logs: str) -> Iterator[Crew]:
    """Give what does the pieces of a study; an error in the block ends those that are under way.

    Ctrl-C, SIGTERM and SIGUSR1 are such an error, `KeyboardInterrupt`.
    """
    with interrupted_by_signals(), contextlib.ExitStack() as stack:
        is_plain = isinstance(options, EngineOptions) and options.is_plain
        yield Crew(options.engine, Path(logs), stack, is_plain=is_plain)


class Crew:
    """Does pieces; see `open_crew`.

    Args:
        engine: Where.
        logs: Folder that all workers share.
        stack: Takes what is to be closed at the end.
        is_plain: Whether neither engine nor workers were asked for: then pieces are done here, with all threads.
    """

    def __init__(self, engine: Engine, logs: Path, stack: contextlib.ExitStack, *, is_plain: bool) -> None:
        self.is_here = engine.on == "local" and engine.workers in (None, 1)
        self._engine, self._logs, self._stack, self._is_plain = engine, logs, stack, is_plain
        self._executor: Executor | None = None
        self._stop = Path()

    def run(
        self,
        function: Callable[[_Part], _Made],
        parts: Sequence[_Part],
        tell: Callable[[int], object] = lambda number: None,
    ) -> Iterator[tuple[int, _Made]]:
        """Yield the number of each part with what the function makes of it, as they end.

        `tell` is called with a part's number before it begins here, and when it ends on a worker. Here an error is raised at
        once. On workers the other parts go on, and then the first error is raised.
        """
        if self.is_here:
            for number, part in enumerate(parts):
                tell(number)
                with contextlib.nullcontext() if self._is_plain else _one_thread():
                    made = function(part)
                yield number, made
            return
        if not parts:
            return
        executor = self._open()
        pieces = [_Piece(function, part, self._stop) for part in parts]
        errors: list[BaseException] = []
        outcomes = self._stack.enter_context(
            contextlib.closing(run_pieces(executor, _run, pieces, on_give_up=self._say_stop))
        )
        for number, outcome in outcomes:
            if outcome.error is None:
                tell(number)
                yield number, outcome.get()
                continue
            errors.append(outcome.error)
            if not isinstance(outcome.error, UserError):
                traceback.print_exception(outcome.error)
        if errors:
            raise _of_several(errors, len(parts))

    def _say_stop(self) -> None:
        # In place: network file systems remember for a while that a file is gone, but ask again when one is opened.
        self._stop.write_text("stop")

    def _open(self) -> Executor:
        if self._executor is None:
            self._executor = self._stack.enter_context(open_executor(self._engine, self._logs))
            self._stop = self._stack.enter_context(_stop_file(self._logs / "sweeps"))
        return self._executor


@contextlib.contextmanager
def _stop_file(folder: Path) -> Iterator[Path]:
    """Give an empty file, absolute, in which the command may say stop."""
    remove_leftovers(folder / "command")
    path = temporary_beside(folder.absolute() / "command")
    write_text(path, "")
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _of_several(errors: Sequence[BaseException], parts: int) -> BaseException:
    first = next((error for error in errors if isinstance(error, UserError)), errors[0])
    if isinstance(first, KeyboardInterrupt):
        return first
    text = str(first) if isinstance(first, UserError) else f"{type(first).__name__}: {first}"
    told = UserError(
        f"{len(errors)} of {parts} pieces of work ended with an error, the same command does them again: {text}"
    )
    told.__cause__ = first
    return told


@dataclass(frozen=True)
class _Piece:
    """What a worker must know."""

    function: Callable[[Any], Any]
    part: Any
    stop: Path


def _run(piece: _Piece) -> Any:
    """Do a piece on a worker, in silence."""
    quiet = contextlib.redirect_stdout(io.StringIO())
    with _ended_by(piece.stop), quiet, contextlib.redirect_stderr(_NoTerminal(sys.stderr)), _one_thread():
        return piece.function(piece.part)


class _NoTerminal(io.TextIOBase):
    """Passes notes on, but draws no progress bars, which several pieces would draw over each other."""

    def __init__(self, below: Any) -> None:
        self._below = below

    def write(self, text: str) -> int:
        return int(self._below.write(text))

    def flush(self) -> None:
        self._below.flush()


@contextlib.contextmanager
def _ended_by(stop: Path) -> Iterator[None]:
    """Raise `KeyboardInterrupt` in the block soon after a file says stop."""
    thread, ended, lock = threading.get_ident(), threading.Event(), threading.Lock()
    came = threading.Event()

    def watch() -> None:
        while not ended.wait(_EVERY):
            if _says_stop(stop):
                with lock:
                    if not ended.is_set():
                        came.set()
                        _interrupt(thread)
                return

    watcher = threading.Thread(target=watch, daemon=True)
    if _says_stop(stop):
        raise KeyboardInterrupt
    watcher.start()
    try:
        yield
    except Exception as error:
        # Of what handles an interruption as only the main thread can.
        if came.is_set():
            raise KeyboardInterrupt from error
        raise
    finally:
        with lock:
            ended.set()


def _says_stop(path: Path) -> bool:
    # Without the file the command is dead, and the piece goes on: it may end before the same command comes again.
    with contextlib.suppress(OSError):
        return bool(path.read_text())
    return False


def _interrupt(thread: int) -> None:
    if thread == threading.main_thread().ident:
        os.kill(os.getpid(), signal.SIGINT)
    else:  # of a Dask worker
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(KeyboardInterrupt))


def _one_thread() -> contextlib.AbstractContextManager[None]:
    from lightning_pz.common.threads import one_thread  # it imports torch

    return one_thread()
