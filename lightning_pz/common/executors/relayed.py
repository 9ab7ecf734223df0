"""An executor over a library whose own futures cannot tell whether work has begun."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import Executor, Future, InvalidStateError, wait
from typing import Any


class RelayedExecutor(Executor):
    """Hands work to a library; its futures count as running from the first, so that giving up waits for what runs.

    Args:
        start: Starts a call on the library and returns its handle; calls back once with (result, error).
        cancel: Drops handles whose work nobody waits for any longer.
    """

    def __init__(
        self,
        start: Callable[[Callable[[], Any], Callable[[Any, BaseException | None], None]], Any],
        cancel: Callable[[list[Any]], None],
    ) -> None:
        self._start, self._cancel = start, cancel
        self._handles: dict[Future[Any], Any] = {}

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Start a call and return its future."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()

        def end(result: Any, error: BaseException | None) -> None:
            with contextlib.suppress(InvalidStateError):
                future.set_result(result) if error is None else future.set_exception(error)

        self._handles[future] = self._start(_Call(fn, args, kwargs), end)
        # What is kept of a call that has ended is memory of the cluster.
        future.add_done_callback(lambda done: self._handles.pop(done, None))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for all calls, or drop them."""
        left = dict(self._handles)
        if cancel_futures:
            self._cancel(list(left.values()))
        elif wait:
            _wait_for(list(left))


class _Call:
    """A call that can be pickled and takes no arguments."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.function, self.args, self.kwargs = function, args, kwargs

    def __call__(self) -> Any:
        return self.function(*self.args, **self.kwargs)


def _wait_for(futures: list[Future[Any]]) -> None:
    wait(futures)
