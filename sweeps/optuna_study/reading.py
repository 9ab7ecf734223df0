"""YAML files of studies, read into dataclasses: a mistake is a sentence that names the file and the key. Nothing heavy."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from lightning_pz.common.errors import UserError, nearest

Kind = TypeVar("Kind")
LARGEST_SEED = 2**32 - 1
"""What NumPy and Lightning take for a seed."""


def read_yaml(path: Path, flag: str = "--grid") -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        UserError: There is no such file, it is not text, not YAML, or no mapping.
    """
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


def make(kind: type[Kind], plain: Any, where: str) -> Kind:
    """Return a dataclass made from plain data, every value of the type that its field says.

    Args:
        kind: The dataclass.
        plain: A mapping of its fields.
        where: File and section, for the message.

    Raises:
        UserError: No mapping, an unknown or missing key, or a value of another type.
    """
    if not isinstance(plain, Mapping):
        raise UserError(f"{where} expects a mapping of settings, but got {plain!r}")
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in plain:
        if key not in fields:
            raise UserError(f"{where} has the keys {', '.join(fields)}, but got {key!r}." + nearest(str(key), fields))
    for name, field in fields.items():
        if name not in plain and field.default is field.default_factory is dataclasses.MISSING:
            raise UserError(f"{where} expects the key {name!r}, but it is missing")
    wanted = typing.get_type_hints(kind)
    values = {key: _value(wanted[key], value, f"{where}: {key}") for key, value in plain.items()}
    try:
        return kind(**values)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


@contextlib.contextmanager
def naming(source: str) -> Iterator[None]:
    """Let what a parser or a check in the block refuses be a `UserError` that names the file it comes from."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            yield
    except SystemExit as stop:
        words = " ".join(said.getvalue().split("error: ")[-1].split())
        raise UserError(f"{source}: {words or 'these settings are refused'}") from stop
    except UserError as error:
        raise UserError(f"{source}: {error}") from error


def whole_numbers(where: str, values: Mapping[str, int], least: int = 0, most: int | None = None) -> None:
    """Raise `UserError` for the first value that is below `least` or above `most`."""
    for key, value in values.items():
        if value < least or (most is not None and value > most):
            span = f"of at least {least}" if most is None else f"from {least} to {most}"
            raise UserError(f"{where}: {key} expects a whole number {span}, but got {value}")


def seeds_of(where: str, seeds: list[int], key: str = "seeds") -> None:
    """Raise `UserError` unless the seeds are in range and all different, and there is one."""
    if not seeds:
        raise UserError(f"{where}: {key!r} expects a list with at least one entry, but got []")
    for seed in seeds:
        whole_numbers(where, {key: seed}, 0, LARGEST_SEED)
    distinct(where, seeds, key)


def distinct(where: str, values: list[Any], key: str) -> None:
    """Raise `UserError` for a value that a list holds twice."""
    for place, value in enumerate(values):
        if any(value == other and type(value) is type(other) for other in values[:place]):
            raise UserError(f"{where}: {key} lists {value!r} twice: leave one out")


def plain_name(where: str, key: str, name: str) -> None:
    """Raise `UserError` unless a name is fit for a part of a folder's name."""
    if not name or name.startswith(("-", ".")) or not all(letter.isalnum() or letter in "-_." for letter in name):
        raise UserError(
            f"{where}: {key} becomes part of a folder's name and expects letters, digits, '-', '_' and '.', but got {name!r}"
        )


def _value(kind: Any, value: Any, where: str) -> Any:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        return _value(next(one for one in inner if one is not type(None)), value, where)
    if dataclasses.is_dataclass(kind):
        return make(typing.cast("type[Any]", kind), value, where)
    if origin is list and isinstance(value, list):
        return [_value(inner[0], one, where) for one in value]
    if origin is dict and isinstance(value, dict):
        return {_value(inner[0], key, where): _value(inner[1], one, f"{where}.{key}") for key, one in value.items()}
    if origin is dict and value is None:  # a section without entries
        return {}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if origin is Literal and value in inner:
        return value
    fits = isinstance(kind, type) and isinstance(value, kind) and not (kind is int and isinstance(value, bool))
    if fits and (kind is not float or math.isfinite(value)):
        return value
    choices = nearest(str(value), inner) if origin is Literal else ""
    raise UserError(
        f"{where} expects {_words(kind)}, but got {value!r}.".removesuffix("." if not choices else "") + choices
    )


def _words(kind: Any) -> str:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin is list:
        return f"a list of {_many(inner[0])}"
    if origin is dict:
        return "a mapping of settings"
    return {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}.get(kind, str(kind))


def _many(kind: Any) -> str:
    return {int: "whole numbers, such as [0, 1]", float: "numbers", str: "words, such as [a, b]"}.get(kind, "entries")
