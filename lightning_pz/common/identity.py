"""Identities: plain data on which a result depends, with a digest, the first difference of two, and digests of code.

Whatever is found again, resumed or shared is known by the content of all that decides it, as JSON can keep it; names
and paths are for people. Imports nothing heavy.
"""

from __future__ import annotations

import ast
import contextlib
import csv
import functools
import hashlib
import importlib.metadata
import importlib.util
import inspect
import json
import sys
import sysconfig
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

_ABSENT = "(absent)"
_PACKAGES = frozenset(("site-packages", "dist-packages"))
"""Folders of packages, which may belong to the user or to the system rather than to this environment."""


def digest(plain: Any) -> str:
    """Return the SHA-256 of plain data in hexadecimal; the order of keys does not matter, tuples are lists."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def first_difference(found: Any, wanted: Any, *, ignore: Sequence[str] = (), known_only: bool = False) -> str | None:
    """Return where two plain values first differ, such as `env.horizon is 5, not 50`, or None if they are equal.

    Dotted keys in `ignore` do not count, nor what is below them; with `known_only`, nor do keys that `found` lacks.
    """
    ours, theirs = (json.loads(json.dumps(value)) for value in (found, wanted))
    return _difference("", ours, theirs, tuple(ignore), known_only)


def source_digest(thing: Callable[..., Any] | type | ModuleType) -> str:
    """Return a digest of the source of a user's function, class or module, with the user's modules that it imports.

    Whole files count: that of the module that defines `thing`, and of every module of the user's that those modules refer
    to by name or import anywhere (`is_users_own`), with the packages around it. A module without a file counts by its
    name alone. Of a module that is loaded the file counts as it was when this process first asked, since what runs is
    what was loaded, however the file is edited meanwhile.
    """
    module = thing if isinstance(thing, ModuleType) else sys.modules.get(getattr(thing, "__module__", ""))
    seen: dict[str, str] = {}
    _collect(module, seen, first=True)
    name = f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', repr(type(thing)))}"
    return digest([name, seen])[:16]


def is_users_own(module: ModuleType | None) -> bool:
    """Return whether a module is neither built in nor part of the standard library, an installed package or this one.

    A package is installed wherever an installer put it: for this environment, the user or the system, or in a folder on
    PYTHONPATH (`pip install --target`). One that is installed as editable is the user's own.
    """
    return is_users_file(_file(module))


def is_users_file(file: Path | None) -> bool:
    """Return whether a file, by its full path, is of no package that is installed, and not of this one; see `is_users_own`."""
    if file is None or file.is_relative_to(Path(__file__).resolve().parents[1]):
        return False
    paths = sysconfig.get_paths()
    if any(file.is_relative_to(Path(paths[key]).resolve()) for key in ("purelib", "platlib", "stdlib")):
        return False
    if not _PACKAGES.isdisjoint(file.parts):
        return False
    roots = {Path(entry).resolve() for entry in sys.path}
    return not any(file.relative_to(root).as_posix() in _installed(root) for root in file.parents if root in roots)


@functools.cache
def _installed(root: Path) -> frozenset[str]:
    """Return what installers put into a folder, as their records beside it name it: paths from there, with slashes."""
    records = (part.read_text("RECORD") for part in importlib.metadata.distributions(path=[str(root)]))
    return frozenset(row[0] for record in records if record for row in csv.reader(record.splitlines()) if row)


@dataclass(frozen=True)
class _Source:
    """What the file of a module held."""

    digest: str  # SHA-256
    imports: tuple[str, ...]  # names of modules, and what may be one, that it imports anywhere
    spec: Any = None  # of the module as it was loaded; a reload makes another


_LOADED: weakref.WeakKeyDictionary[ModuleType, _Source] = weakref.WeakKeyDictionary()
"""Sources of the user's loaded modules, as they were when first asked for."""


def _collect(module: ModuleType | None, seen: dict[str, str], first: bool = False) -> None:
    """Add a user's loaded module and those it refers to."""
    if module is None or module.__name__ in seen or not (first or is_users_own(module)) or not (file := _file(module)):
        return
    source = _LOADED.get(module)
    if source is None or source.spec is not module.__spec__:
        source = _LOADED[module] = _read(file, module.__name__, hasattr(module, "__path__"), module.__spec__)
    seen[module.__name__] = source.digest
    for value in list(vars(module).values()):
        if isinstance(value, ModuleType):
            _collect(value, seen)
        elif isinstance(origin := getattr(value, "__module__", None), str):
            _collect(sys.modules.get(origin), seen)
    for name in source.imports:
        _collect_named(name, seen)


def _collect_named(name: str, seen: dict[str, str]) -> None:
    """Add a user's module by name: one that is loaded, or one that a function will import."""
    if name in sys.modules:
        _collect(sys.modules[name], seen)
        return
    parent = name.rpartition(".")[0]
    if name in seen or (parent and not is_users_own(sys.modules.get(parent))):
        return  # a library's, or one whose lookup would import what is around it
    with contextlib.suppress(Exception):  # finders of the user's may raise anything
        spec = importlib.util.find_spec(name)
        file = (
            Path(spec.origin).resolve(strict=True) if spec is not None and spec.has_location and spec.origin else None
        )
        if spec is not None and file is not None and file.suffix == ".py" and is_users_file(file):
            source = _read(file, name, spec.submodule_search_locations is not None)
            seen[name] = source.digest
            for other in source.imports:
                _collect_named(other, seen)


def _read(file: Path, name: str, is_package: bool, spec: Any = None) -> _Source:
    content = file.read_bytes()
    return _Source(hashlib.sha256(content).hexdigest(), _imports(content, name, is_package), spec)


def _imports(source: bytes, name: str, is_package: bool) -> tuple[str, ...]:
    """Return the modules that a module imports, in functions too, with the packages around them, and names it imports from them."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError):
        return ()
    found = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            around = name.split(".") if is_package else name.split(".")[:-1]
            start = around[: len(around) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            found += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    parts = [module.split(".") for module in found if module]
    return tuple(dict.fromkeys(".".join(names[:end]) for names in parts for end in range(1, len(names) + 1)))


def _file(module: ModuleType | None) -> Path | None:
    try:
        source = inspect.getsourcefile(module) if module is not None else None
        return Path(source).resolve(strict=True) if source else None
    except (TypeError, OSError):
        return None


def _difference(place: str, found: Any, wanted: Any, ignore: tuple[str, ...], known_only: bool) -> str | None:
    if place in ignore:
        return None
    pairs: list[tuple[str, Any, Any]] | None = None
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = [key for key in dict.fromkeys((*wanted, *found)) if key in found or not known_only]
        dot = f"{place}." if place else ""
        pairs = [(f"{dot}{key}", found.get(key, _ABSENT), wanted.get(key, _ABSENT)) for key in keys]
    elif isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        pairs = [(f"{place}[{i}]", *both) for i, both in enumerate(zip(found, wanted, strict=True))]
    if pairs is not None:
        return next(filter(None, (_difference(*pair, ignore, known_only) for pair in pairs)), None)
    return None if found == wanted else f"{place or 'it'} is {_short(found)}, not {_short(wanted)}"


def _short(value: Any) -> str:
    text = value if value == _ABSENT else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
