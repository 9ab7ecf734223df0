"""Checks annotations in the first calls of each function in a test; then the function rests until the next test begins.

Every call of a study that steps an environment a hundred thousand times would take a third of the time of all tests.
"""

import functools
import inspect
import sys
from collections import Counter

from beartype import beartype

CALLS = 5
"""Calls of each function that a test checks."""

_MARK = "__no_type_check__"  # at which jaxtyping looks in every call
_counts: Counter[tuple[str, str]] = Counter()
_resting: list[object] = []


def check(function):
    """Check a function as beartype does, and let it rest after so many calls; the import hook passes it a stand-in."""
    checked, key = beartype(function), (function.__module__, function.__qualname__)

    @functools.wraps(checked)
    def counted(*args, **kwargs):
        _counts[key] += 1
        if _counts[key] == 2 * CALLS:  # each call checks what came and what is returned
            _rest(*key)
        return checked(*args, **kwargs)

    return counted


def begin() -> None:
    """Let all functions be checked anew, as at the beginning of a test."""
    _counts.clear()
    for function in _resting:
        vars(function).pop(_MARK, None)
    _resting.clear()


def _rest(module: str, qualname: str) -> None:
    found = sys.modules.get(module)
    for name in qualname.split("."):
        found = inspect.getattr_static(found, name, None)  # none inside a function, which is checked for good
    for part in [found.fget, found.fset] if isinstance(found, property) else [found]:
        # Down through decorators such as `torch.no_grad`, to the function itself: the mark on what stands in its place
        # would hide its annotations from jsonargparse.
        part = getattr(part, "func", part) if isinstance(part, functools.cached_property) else part
        part = inspect.unwrap(getattr(part, "__func__", part)) if part is not None else part
        if inspect.isfunction(part):
            setattr(part, _MARK, True)
            _resting.append(part)
