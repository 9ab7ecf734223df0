"""What a result depends on, as plain data: one digest of it, the first difference between two, and the source of code.

Whatever is found again, resumed or shared is known by the content of all that decides it. Names and paths are for
people. An identity is a mapping of plain data (strings, numbers, None, lists, mappings), so that JSON can keep it beside
the result and an error can name what differs. Imports nothing heavy.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

_ABSENT = "(absent)"


def digest(plain: Any) -> str:
    """Return the SHA-256 of plain data in hexadecimal; the order of keys does not matter, tuples are lists."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def first_difference(found: Any, wanted: Any, *, ignore: Sequence[str] = (), known_only: bool = False) -> str | None:
    """Return where two plain values first differ, such as `env.horizon is 5, not 50`, or None if they are equal.

    Args:
        found: What lies on disk.
        wanted: What is asked for.
        ignore: Dotted keys that do not count, with everything below them.
        known_only: Skip keys that `found` lacks, for what an earlier version wrote without them.
    """
    return _difference("", _plain(found), _plain(wanted), tuple(ignore), known_only)


def source_digest(thing: Callable[..., Any] | type | ModuleType) -> str:
    """Return a digest of the source of a user's function, class or module, with the user's modules that it imports.

    The content of whole files counts: that of the module that defines `thing`, and of every module outside the standard
    library and site-packages that those modules refer to by name. What has no file counts by its name alone.
    """
    module = thing if isinstance(thing, ModuleType) else sys.modules.get(getattr(thing, "__module__", ""))
    seen: dict[str, str] = {}
    _collect(module, seen, first=True)
    name = f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', repr(type(thing)))}"
    return digest([name, seen])[:16]


def is_users_own(module: ModuleType | None) -> bool:
    """Return whether a module is neither built in nor part of the standard library, an installed package or this one."""
    file = _file(module)
    if file is None or file.is_relative_to(Path(__file__).resolve().parents[1]):
        return False
    paths = sysconfig.get_paths()
    if any(file.is_relative_to(Path(paths[key]).resolve()) for key in ("purelib", "platlib")):
        return False
    standard = Path(paths["stdlib"]).resolve()
    return not file.is_relative_to(standard)


def _collect(module: ModuleType | None, seen: dict[str, str], first: bool = False) -> None:
    if module is None or module.__name__ in seen or not (first or is_users_own(module)):
        return
    file = _file(module)
    if file is None:
        return
    seen[module.__name__] = hashlib.sha256(file.read_bytes()).hexdigest()
    for value in list(vars(module).values()):
        if isinstance(value, ModuleType):
            _collect(value, seen)
        elif isinstance(origin := getattr(value, "__module__", None), str):
            _collect(sys.modules.get(origin), seen)


def _file(module: ModuleType | None) -> Path | None:
    try:
        source = inspect.getsourcefile(module) if module is not None else None
        return Path(source).resolve(strict=True) if source else None
    except (TypeError, OSError):
        return None


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _difference(place: str, found: Any, wanted: Any, ignore: tuple[str, ...], known_only: bool) -> str | None:
    if place in ignore:
        return None
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in dict.fromkeys((*wanted, *found)):
            if known_only and key not in found:
                continue
            inner = f"{place}.{key}" if place else key
            told = _difference(inner, found.get(key, _ABSENT), wanted.get(key, _ABSENT), ignore, known_only)
            if told is not None:
                return told
        return None
    if isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        for i, (one, other) in enumerate(zip(found, wanted, strict=True)):
            told = _difference(f"{place}[{i}]", one, other, ignore, known_only)
            if told is not None:
                return told
        return None
    return None if found == wanted else f"{place or 'it'} is {_short(found)}, not {_short(wanted)}"


def _short(value: Any) -> str:
    text = value if value == _ABSENT else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
