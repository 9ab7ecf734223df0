"""A Ctrl-C, or what counts as one, that waits for a place at which a program can stop. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from lightning_pz.common.processes import ENDING


class _Held:
    """Counts signals."""

    def __init__(self) -> None:
        self.came: list[int] = []

    def note(self, number: int, frame: FrameType | None) -> None:
        """Take a signal; the second one interrupts at once."""
        self.came.append(number)
        if len(self.came) > 1:
            raise KeyboardInterrupt

    def let_in(self) -> None:
        """Interrupt if a signal has come."""
        if self.came:
            raise KeyboardInterrupt


@contextlib.contextmanager
def held_interrupts() -> Iterator[Callable[[], None]]:
    """Hold Ctrl-C back until the block ends, or calls what it is given; a second one comes at once.

    An exception that comes in the midst of a library may leave its locks and queues in a state in which it waits forever.
    Only the main thread can hold signals; where Ctrl-C is ignored or handled by others, it stays so. SIGTERM and SIGUSR1 are
    held where something handles them, as `interrupted_by_signals` does.

    Raises:
        KeyboardInterrupt: Ctrl-C came since the block began.
    """
    held = _Held()
    is_main = threading.current_thread() is threading.main_thread()
    before = {one: signal.getsignal(one) for one in ENDING} if is_main else {}
    mine = {one: handler for one, handler in before.items() if callable(handler)}
    if not mine or any(getattr(handler, "__module__", "") == __name__ for handler in mine.values()):
        yield held.let_in  # held already, further out
        return
    for one in mine:
        signal.signal(one, held.note)
    try:
        yield held.let_in
    finally:
        for one, handler in mine.items():
            signal.signal(one, handler)
    # Not where another exception is on its way.
    if len(held.came) == 1:
        first = signal.Signals(held.came[0])
        mine[first](first, None)
