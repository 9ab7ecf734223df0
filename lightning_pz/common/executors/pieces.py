"""Runs a function on many pieces through an executor; errors come back as values, for engines wrap exceptions differently."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from lightning_pz.common.executors.failures import as_user_error, portable
from lightning_pz.common.executors.home import Home, enter
from lightning_pz.common.processes import interrupted_by_signals

_Piece = TypeVar("_Piece")
_Value = TypeVar("_Value")
GRACE = 60.0
"""Seconds that pieces under way have to end once the command gives up."""


@dataclass(frozen=True)
class Outcome(Generic[_Value]):
    """What became of a piece: its value, or the error that it raised."""

    value: _Value | None = None
    error: BaseException | None = None

    def get(self) -> _Value:
        """Return the value, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]


def run_pieces(
    executor: Executor | None,
    function: Callable[[_Piece], _Value],
    pieces: Sequence[_Piece],
    on_wait: Callable[[], Any] = lambda: None,
    on_give_up: Callable[[], Any] | None = None,
) -> Generator[tuple[int, Outcome[_Value]]]:
    """Yield the number of each piece with its outcome, as pieces end; one after another in this process without an executor.

    The function must be importable by name on a worker, and pieces must be plain enough to be pickled. `on_wait` is called
    every half second. What is left when the iteration is given up is canceled where it has not begun; with `on_give_up`,
    which tells pieces under way to end, those have a minute to do so. A piece whose process gets SIGINT, SIGTERM or SIGUSR1
    sees a `KeyboardInterrupt`, which is its outcome unless it catches it.
    """
    if executor is None:
        for number, piece in enumerate(pieces):
            try:
                yield number, Outcome(function(piece))
            except Exception as error:
                yield number, Outcome(error=error)
        return
    pending: dict[Future[Outcome[_Value]], int] = {}
    home = Home.of_this_process()
    try:
        for number, piece in enumerate(pieces):
            try:
                pending[executor.submit(_outcome, function, piece, home)] = number
            except Exception as error:
                if (sentence := as_user_error(error)) is error:
                    raise
                yield number, Outcome(error=sentence)
        while pending:
            done, _ = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in done:
                yield pending.pop(future), _of(future)
            on_wait()
    finally:
        if pending and on_give_up is not None:
            on_give_up()
        for future in pending:
            future.cancel()
        if on_give_up is not None:
            wait(pending, timeout=GRACE)


def _of(future: Future[Outcome[_Value]]) -> Outcome[_Value]:
    try:
        return future.result()
    except (Exception, CancelledError) as error:
        return Outcome(error=as_user_error(error))


def _outcome(function: Callable[[_Piece], _Value], piece: _Piece, home: Home) -> Outcome[_Value]:
    """Run on a worker."""
    try:
        with interrupted_by_signals(), enter(home):
            return Outcome(function(piece))
    except (Exception, KeyboardInterrupt) as error:
        return Outcome(error=portable(error))
