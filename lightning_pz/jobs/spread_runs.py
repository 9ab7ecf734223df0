"""Runs of a command, one after another in this process or spread over the workers of an engine.

A run is a pure function of its settings and its folder, safe to run twice. Workers write their progress into run folders,
and look every second whether the command says stop, in a file that all share.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from lightning_pz.common.errors import UserError
from lightning_pz.common.executors import Engine, open_executor, run_pieces
from lightning_pz.common.files import alone, check_writable, remove_leftovers, temporary_beside, write_text
from lightning_pz.common.processes import available_cores, interrupted_by_signals

Job = TypeVar("Job")
Result = TypeVar("Result")
Work = Callable[[Any, Callable[[int], None], Callable[[], None] | None], Any]
"""Does a job: told to call its second argument with the steps so far, and its third while another process has the run's
folder; without a third it refuses then. What the two raise ends it. Importable by name."""

_PROGRESS, _STOP, _HERE = ".progress", "stop", "here"
_EVERY = 1.0  # seconds between two looks of a run at the command's file, and two notes of its progress


@dataclass(frozen=True)
class _Piece(Generic[Job]):
    """What a worker must know."""

    work: Work
    job: Job
    folder: Path  # the run's, claimed by the command
    command: Path  # the command's own
    host: str  # of the command
    waits: bool  # for another process that has the run


def spread_runs(
    work: Work,
    jobs: Sequence[Job],
    engine: Engine,
    logs: Path,
    *,
    place: Callable[[Job], Path],
    keep: Callable[[Any], None],
    draw: Callable[[int], Any] | None,
) -> None:
    """Do jobs and hand each result to `keep` when it is there; results do not depend on the engine.

    Args:
        work: Does a job.
        jobs: One for each run.
        engine: Where they are done; one worker of the engine `local` is this process.
        logs: A folder that all workers share.
        place: Claims the folder of a job's run and returns it.
        keep: Takes results.
        draw: Takes what all jobs have done so far, if progress is shown.

    Raises:
        KeyboardInterrupt: Ctrl-C, SIGTERM or SIGUSR1 reached the command or a worker, and the states of its runs are saved.
        UserError: What a job raised, after the others have ended; in this process at once.
    """
    if engine.is_one_machine:
        engine = replace(engine, workers=min(engine.workers or available_cores(), max(1, len(jobs))))
    if not jobs:
        return
    if engine.on == "local" and engine.workers == 1:
        with interrupted_by_signals():
            _one_by_one(work, jobs, keep, draw)
        return
    notes: set[str] = set()
    errors: list[BaseException] = []
    with _command_folder(logs) as own, interrupted_by_signals(), open_executor(engine, logs) as executor:
        waits = engine.on != "local"
        pieces = [_Piece(work, job, place(job), own, socket.gethostname(), waits) for job in jobs]
        progress = _Progress([piece.folder for piece in pieces], draw)
        with contextlib.closing(
            run_pieces(executor, _run_piece, pieces, progress.show, partial(_give_up, own))
        ) as outcomes:
            for number, outcome in outcomes:
                if outcome.error is not None:
                    errors.append(outcome.error)
                    continue
                result, steps, note = outcome.get()
                progress.end(number, steps)
                keep(result)
                if note is not None and note not in notes:
                    notes.add(note)
                    print(f"note: {note}", file=sys.stderr)
    if stopped := [error for error in errors if isinstance(error, KeyboardInterrupt)]:
        raise stopped[0]
    if errors:
        raise next((error for error in errors if isinstance(error, UserError)), errors[0])


def _one_by_one(
    work: Work, jobs: Sequence[Any], keep: Callable[[Any], None], draw: Callable[[int], Any] | None
) -> None:
    before = last = 0

    def show(steps: int) -> None:
        nonlocal last
        last = steps
        if draw is not None:
            draw(before + steps)

    for job in jobs:
        keep(work(job, show, None))
        before += last


@contextlib.contextmanager
def _command_folder(logs: Path) -> Iterator[Path]:
    """Give a hidden folder of this command, which holds a lock in it and the file by which it says stop."""
    remove_leftovers(logs / "command")
    own = temporary_beside(logs / "command")
    write_text(own / _STOP, "")
    try:
        with alone(own / _HERE):
            yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _give_up(own: Path) -> None:
    # Written in place: network file systems remember for a minute that a file is missing, but ask again when one is opened.
    (own / _STOP).write_text("stop")
    print("stopping the runs under way", file=sys.stderr)


class _Progress:
    """Steps of all runs so far, read from their folders."""

    def __init__(self, folders: Sequence[Path], draw: Callable[[int], Any] | None) -> None:
        self.folders, self.draw = folders, draw
        self.steps = [0] * len(folders)
        self.running = set(range(len(folders)))
        self.last = 0.0

    def end(self, number: int, steps: int) -> None:
        self.running.discard(number)
        self.steps[number] = steps

    def show(self) -> None:
        if self.draw is None or time.monotonic() - self.last < _EVERY:
            return
        for number in self.running:
            with contextlib.suppress(OSError, ValueError):  # it has not begun, or has just ended
                self.steps[number] = int((self.folders[number] / _PROGRESS).read_text())
        self.draw(sum(self.steps))
        self.last = time.monotonic()


class _Watch:
    """What a run calls with its steps: notes them, and raises `KeyboardInterrupt` once the command says stop."""

    def __init__(self, piece: _Piece[Any]) -> None:
        self.progress, self.stop = piece.folder / _PROGRESS, piece.command / _STOP
        self.steps, self.last = 0, 0.0

    def __call__(self, steps: int) -> None:
        self.steps = steps
        if time.monotonic() - self.last >= _EVERY:
            self.last = time.monotonic()
            write_text(self.progress, str(steps))
            self.look()

    def look(self) -> None:
        # Without the file the command is dead, and the run goes on: it may end before the same command comes again.
        with contextlib.suppress(FileNotFoundError):
            if self.stop.read_text():
                raise KeyboardInterrupt


def _run_piece(piece: _Piece[Any]) -> tuple[Any, int, str | None]:
    """Do a job on a worker; return its result, its steps, and a note if locks do not hold."""
    host, watch = socket.gethostname(), _Watch(piece)
    watch.look()
    _check_shared(piece.folder, host)
    note = None if host == piece.host else _lock_note(piece, host)
    try:
        result = piece.work(piece.job, watch, watch.look if piece.waits else None)
    finally:
        watch.progress.unlink(missing_ok=True)
    return result, watch.steps, note


def _check_shared(folder: Path, host: str) -> None:
    if not folder.is_dir():
        raise UserError(
            f"{folder.absolute()} is not there on {host}, where a worker runs: give --logs a folder on a file system that all "
            "workers share"
        )
    try:
        check_writable(folder)
    except UserError as error:
        raise UserError(f"the worker on {host} cannot write its results: {error}") from error


def _lock_note(piece: _Piece[Any], host: str) -> str | None:
    """Return a note unless the lock that the command holds is seen as held on this other host."""
    try:
        with alone(piece.command / _HERE, wait=False):
            is_dead = not (piece.command / _STOP).is_file()
    except UserError:
        return None
    return (
        None
        if is_dead
        else f"the file system of {piece.command.parent} does not keep locks between {piece.host} and {host}: never let two commands "
        "work on the same runs at once"
    )
