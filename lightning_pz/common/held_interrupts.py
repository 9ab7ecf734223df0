"""A Ctrl-C that waits for a place at which a program can stop. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


class _Held:
    """Counts signals."""

    def __init__(self) -> None:
        self.came = 0

    def note(self, number: int, frame: FrameType | None) -> None:
        """Take a signal; the second one interrupts at once."""
        self.came += 1
        if self.came > 1:
            raise KeyboardInterrupt

    def let_in(self) -> None:
        """Interrupt if a signal has come."""
        if self.came:
            raise KeyboardInterrupt


@contextlib.contextmanager
def held_interrupts() -> Iterator[Callable[[], None]]:
    """Hold Ctrl-C back until the block ends, or calls what it is given; a second one comes at once.

    An exception that comes in the midst of a library may leave its locks and queues in a state in which it waits forever.
    Only the main thread can hold signals; where Ctrl-C is ignored or handled by others, it stays so.

    Raises:
        KeyboardInterrupt: Ctrl-C came since the block began.
    """
    held = _Held()
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT) if is_main else signal.SIG_IGN
    if before in (signal.SIG_IGN, None) or getattr(before, "__module__", "") == __name__:  # held already, further out
        yield held.let_in
        return
    signal.signal(signal.SIGINT, held.note)
    try:
        yield held.let_in
    finally:
        signal.signal(signal.SIGINT, before)
    # Not where another exception is on its way.
    if held.came == 1 and callable(before):
        before(signal.SIGINT, None)
