"""Reads the YAML files of studies into dataclasses, and names the file and the key of a mistake.

By hand, for jsonargparse skips unknown keys of plain data, reads `"5"` as 5, and does not say below which key a mistake
is. Imports nothing heavy.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import re
import types
import typing
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from lightning_pz.common.checks import one_of
from lightning_pz.common.errors import UserError, nearest
from lightning_pz.envs.presets import merge, preset_names

Kind = TypeVar("Kind")
_WORDS = {
    int: "a whole number", float: "a number", str: "a word", bool: "true or false",
    list[int]: "a list of whole numbers, such as [0, 1]", list[str]: "a list of words, such as [a, b]",
}  # fmt: skip


def read_yaml(path: Path, flag: str = "--grid") -> dict[str, Any]:
    """Read a YAML file that holds a mapping; a `UserError` says what it is instead."""
    if not path.is_file():
        raise UserError(f"{flag} expects a YAML file, but there is none at {path}")
    try:
        plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise UserError(f"{path} expects UTF-8 text, but byte {error.start} is none: save the file as UTF-8") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{path} expects YAML, but {' '.join(str(error).split())}") from error
    if not isinstance(plain, dict):
        raise UserError(f"{path} expects sections such as `default:`, but the file holds {plain!r}")
    return plain


def read_sections(path: Path, env_name: str | None, others: tuple[str, ...] = ()) -> tuple[dict[str, Any], dict]:
    """Return the settings of one environment, its section over `default`, and the whole file, which may have `others`."""
    text = read_yaml(path)
    own = ("default", *others)
    known = (*own, *preset_names("env"), *([env_name] if env_name else []))
    for key in text:
        # Environments without a preset end with a version.
        if key not in known and not re.search(r"-v\d+(-[0-9a-f]{8})?$", str(key)):
            raise UserError(
                f"{path}: a section is {', '.join(own)} or the short name of an environment, such as hopper or "
                f"walker2d-v5, but got {key!r}." + nearest(str(key), known)
            )
    default, own_section = (
        from_plain(dict[str, Any], text.get(name), f"{path}: {name}") for name in ("default", env_name or "default")
    )
    return merge(default, own_section), text


def from_plain(kind: type[Kind], value: Any, where: str) -> Kind:
    """Return plain data as a dataclass or another type; a `UserError` begins with `where`, the file and the key."""
    origin, inner, choices = typing.get_origin(kind), typing.get_args(kind), ""
    found: Any = None
    if kind is Any or (origin is Literal and value in inner):
        found = value
    elif origin in (types.UnionType, typing.Union):
        found = None if value is None else from_plain(inner[0], value, where)
    elif dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        found = _dataclass(kind, value, where)
    elif origin is list and isinstance(value, list):
        found = [from_plain(inner[0], one, where) for one in value]
    elif origin is dict and isinstance(value, dict | None):  # a section without entries is None
        pairs = (value or {}).items()
        found = {from_plain(inner[0], k, where): from_plain(inner[1], one, f"{where}.{k}") for k, one in pairs}
    elif kind is float and type(value) is int:
        found = float(value)
    elif type(value) is kind and (kind is not float or math.isfinite(value)):  # type: ignore[arg-type]
        found = value
    else:
        mapping = origin is dict or dataclasses.is_dataclass(kind)
        words = "a mapping of settings" if mapping else _WORDS.get(kind, str(kind))
        if origin is Literal:
            words, choices = f"one of {', '.join(map(str, inner))}", "." + nearest(str(value), inner)
        raise UserError(f"{where} expects {words}, but got {value!r}{choices}")
    return found


def _dataclass(kind: Any, plain: Mapping[str, Any], where: str) -> Any:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key in plain:
        if key not in fields:
            raise UserError(f"{where} has the keys {', '.join(fields)}, but got {key!r}." + nearest(str(key), fields))
    for name, field in fields.items():
        if name not in plain and field.default is field.default_factory is dataclasses.MISSING:
            raise UserError(f"{where} expects the key {name!r}, but it is missing")
    wanted = typing.get_type_hints(kind)
    values = {key: from_plain(wanted[key], value, f"{where}: {key}") for key, value in plain.items()}
    with errors_from(where):
        return kind(**values)


@contextlib.contextmanager
def errors_from(source: str) -> Iterator[None]:
    """Let what a parser or a check in the block refuses be a `UserError` that begins with the file it comes from."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            yield
    except SystemExit as stop:
        words = " ".join(said.getvalue().split("error: ")[-1].split())
        raise UserError(f"{source}: {words or 'these settings are refused'}") from stop
    except UserError as error:
        raise UserError(f"{source}: {error}") from error


def check_known(source: str, given: Mapping[str, tuple[Collection[str], Collection[str]]]) -> None:
    """Raise `UserError` for the first name that an option gives and the file `source` has not: option to names and known."""
    with errors_from(source):
        for option, (names, known) in given.items():
            for name in names:
                one_of(option, name, tuple(known))


def whole_numbers(values: Mapping[str, int | list[int]], least: int = 0, most: int | None = None) -> None:
    """Raise `UserError` for the first value, or entry of a list, that is below `least` or above `most`."""
    for key, value in (
        (key, one) for key, each in values.items() for one in (each if isinstance(each, list) else [each])
    ):
        if value < least or (most is not None and value > most):
            span = f"of at least {least}" if most is None else f"from {least} to {most}"
            raise UserError(f"{key} expects a whole number {span}, but got {value}")


def check_numbers(key: str, values: list[int], least: int, most: int | None = None) -> None:
    """Raise `UserError` unless a list has an entry, and all are in range and different."""
    check_filled({key: values})
    whole_numbers({key: values}, least, most)
    check_distinct(key, values)


def check_filled(values: Mapping[str, Any]) -> None:
    """Raise `UserError` for the first value that is an empty list or mapping."""
    for key, value in values.items():
        if not value:
            raise UserError(f"{key!r} expects at least one entry, but got none")


def check_distinct(key: str, values: list[Any]) -> None:
    """Raise `UserError` for a value that a list holds twice."""
    for place, value in enumerate(values):
        if any(value == other and type(value) is type(other) for other in values[:place]):
            raise UserError(f"{key} lists {value!r} twice: leave one out")
