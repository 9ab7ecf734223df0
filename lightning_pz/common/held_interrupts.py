"""A Ctrl-C that waits for a place at which a program can stop. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def held_interrupts() -> Iterator[Callable[[], None]]:
    """Hold Ctrl-C back until the block ends, or calls what it is given; a second one comes at once.

    An exception that comes in the midst of a library may leave its locks and queues in a state in which it waits forever.
    Only the main thread can hold signals; where Ctrl-C is ignored or handled by others, it stays so.

    Raises:
        KeyboardInterrupt: Ctrl-C came since the block began.
    """
    came = 0

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came += 1
        if came > 1:
            raise KeyboardInterrupt

    def let_in() -> None:
        if came:
            raise KeyboardInterrupt

    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT) if is_main else signal.SIG_IGN
    if before in (signal.SIG_IGN, None) or getattr(before, "__module__", "") == __name__:  # held already, further out
        yield let_in
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield let_in
    finally:
        signal.signal(signal.SIGINT, before)
    # Not where another exception is on its way.
    if came == 1 and callable(before):
        before(signal.SIGINT, None)
