"""Checks of settings and of installed packages, with a sentence for what is wrong. Imports nothing heavy."""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

from lightning_pz.common.errors import UserError, nearest

LatentsKind = Literal["density", "gaussian"]
"""What random latents are drawn from; see `lightning_pz.common.latent_distribution`."""
LATENTS = get_args(LatentsKind)
RecipeKind = Literal["random", "grown"]
"""How `fit` makes a pool: `random` is the paper's, `grown` searches without reward."""
PoolKind = Literal["random", "grown", "archive"]
"""How `collect` makes a pool: as `fit` does, or of the policies in an `archive`."""


def is_installed(module: str) -> bool:
    """Whether a module can be imported, without importing it."""
    return importlib.util.find_spec(module) is not None


def check_extra(packages: str | Sequence[str], extra: str, why: str) -> None:
    """Raise `UserError` unless optional modules are installed, with the line that installs them.

    They come with an extra of lightning_pz, or several joined by commas; `why` is the subject: `--algorithm cmaes`.
    """
    wanted = [packages] if isinstance(packages, str) else packages
    missing = [package for package in wanted if not is_installed(package)]
    if missing:
        words = "package {}, which is" if len(missing) == 1 else "packages {}, which are"
        raise UserError(
            f"{why} needs the {words.format(' and '.join(missing))} not installed: pip install 'lightning_pz[{extra}]'"
        )


def check_choices(settings: Any, prefix: str = "") -> None:
    """Raise `UserError` for the first field of a dataclass that is none of its `Literal` type's words.

    The prefix, such as `states.`, precedes the fields' names on the command line.
    """
    for name, hint in get_type_hints(type(settings)).items():
        if get_origin(hint) is Literal:
            one_of(prefix + name, getattr(settings, name), get_args(hint))


def one_of(flag: str, value: str, known: tuple[str, ...]) -> None:
    """Raise `UserError` unless the value is one of the known words."""
    if value not in known:
        raise UserError(f"--{flag} expects one of {', '.join(known)}, but got {value!r}." + nearest(value, known))


def at_least(least: int, values: dict[str, int]) -> None:
    """Raise `UserError` for the first flag whose value is below `least`."""
    for flag, value in values.items():
        if value < least:
            raise UserError(f"--{flag} expects at least {least}, but got {value}")


LARGEST_SEED = 2**32 - 1  # that NumPy, PyTorch, Gymnasium and Stable-Baselines3 all take


def seeds(values: dict[str, int], count: int = 1) -> None:
    """Raise `UserError` for the first flag whose value and the next `count - 1` are not all seeds."""
    for flag, value in values.items():
        if not 0 <= value <= LARGEST_SEED - (count - 1):
            more = "" if count == 1 else f" ({count} of them, one after another)"
            raise UserError(f"--{flag} expects a seed from 0 to {LARGEST_SEED - (count - 1)}{more}, but got {value}")


def check_horizon(horizon: int | None) -> None:
    """Raise `UserError` for a horizon below 1."""
    at_least(1, {} if horizon is None else {"env.horizon": horizon})


def positive(values: dict[str, float]) -> None:
    """Raise `UserError` for the first flag whose value is not a finite number above 0."""
    for flag, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise UserError(f"--{flag} expects a number above 0, but got {value}")


def plain_name(flag: str, value: str) -> None:
    """Raise `UserError` unless a text can name a file or a folder without leaving its parent."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+=-]{0,119}", value):
        raise UserError(
            f"--{flag} expects a name for folders, of at most 120 letters, digits and _ . + = -, the first a letter, a "
            f"digit or _, but got {value!r}"
        )


def shares(values: dict[str, float]) -> None:
    """Raise `UserError` for the first flag whose value is not within 0 and 1."""
    for flag, value in values.items():
        if not 0 <= value < 1:
            raise UserError(f"--{flag} expects a share of at least 0 and below 1, but got {value}")
