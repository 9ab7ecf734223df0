"""Runs a function on many pieces through an executor; errors come back as values, for engines wrap exceptions differently."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from lightning_pz.common.errors import UserError
from lightning_pz.common.version import package_version

Piece = TypeVar("Piece")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Outcome(Generic[Value]):
    """What became of a piece: its value, or the error that it raised."""

    value: Value | None = None
    error: BaseException | None = None

    def get(self) -> Value:
        """Return the value, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]


def run_pieces(
    executor: Executor | None,
    function: Callable[[Piece], Value],
    pieces: Sequence[Piece],
    on_wait: Callable[[], Any] = lambda: None,
) -> Iterator[tuple[int, Outcome[Value]]]:
    """Yield the number of each piece with its outcome, as pieces end; one after another in this process without an executor.

    The function must be importable by name on a worker, and pieces must be plain enough to be pickled. `on_wait` is called
    every half second. What is left when the iteration is given up is canceled where it has not begun.
    """
    if executor is None:
        for number, piece in enumerate(pieces):
            yield number, _outcome(function, piece, package_version())
        return
    pending: dict[Future[Outcome[Value]], int] = {}
    try:
        for number, piece in enumerate(pieces):
            pending[executor.submit(_outcome, function, piece, package_version())] = number
        while pending:
            done, _ = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in done:
                number = pending.pop(future)
                error = future.exception()
                yield number, future.result() if error is None else Outcome(error=error)
            on_wait()
    finally:
        for future in pending:
            future.cancel()


def _outcome(function: Callable[[Piece], Value], piece: Piece, version: str) -> Outcome[Value]:
    if version != package_version():
        raise UserError(
            f"this worker has lightning_pz {package_version()}, but the command runs {version}: install the same version on both"
        )
    try:
        return Outcome(function(piece))
    except Exception as error:
        return Outcome(error=error)
