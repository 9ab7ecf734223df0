"""Reads the settings that RL Zoo publishes for an algorithm and an environment; imports nothing heavy."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from lightning_pz.common.checks import check_extra, is_installed
from lightning_pz.common.errors import UserError

_SEEN_OTHERWISE = ("env_wrapper", "vec_env_wrapper", "frame_stack", "env_kwargs")
"""Keys that change what a policy sees or where it acts."""
_UNKNOWN = ("callback", "monitor_kwargs", "replay_buffer_class")


class ZooEntry(NamedTuple):
    """An entry of RL Zoo."""

    name: str  # the id it is published for, or `default`
    version: str  # of RL Zoo
    settings: dict[str, Any]  # as its file has them


def zoo_entry(algorithm: str, env_id: str) -> ZooEntry:
    """Return the entry for an environment, or the nearest one of the same environment.

    In this order: the very id, another version of it (the newest), its PyBullet twin, and `default`, which RL Zoo itself
    falls back to.

    Raises:
        UserError: The package is missing, no entry fits, or the entry asks for what cannot be had here.
    """
    check_extra("rl_zoo3", "zoo", "--hyperparameters zoo")
    spec = importlib.util.find_spec("rl_zoo3")  # not imported: that takes seconds
    assert spec is not None and spec.submodule_search_locations is not None
    path = Path(spec.submodule_search_locations[0]) / "hyperparams" / f"{algorithm}.yml"
    entries: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text())
    plain = re.split(r"[:/]", env_id)[-1]
    stem = re.sub(r"-v\d+$", "", plain)
    versions = sorted((name for name in entries if re.fullmatch(rf"{re.escape(stem)}-v\d+", name)), key=_version)
    for name in (plain, *reversed(versions), f"{stem}BulletEnv-v0", "default"):
        if name in entries:
            _check(algorithm, name, entries[name])
            return ZooEntry(name, importlib.metadata.version("rl_zoo3"), entries[name])
    raise UserError(
        f"--hyperparameters zoo: RL Zoo has no settings of {algorithm} for {env_id}: leave the flag out for the defaults of "
        "Stable-Baselines3"
    )


def evaluate_text(text: str, modules: dict[str, Any]) -> Any:
    """Return what a text such as `dict(net_arch=[64], activation_fn=nn.ReLU)` says, without running it.

    It may hold literals, calls of `dict` and names such as `nn.ReLU` of the modules given. Raises `UserError` for more.
    """

    def value(node: ast.expr) -> Any:
        match node:
            case ast.Call(func=ast.Name(id="dict"), args=[]):
                return {str(word.arg): value(word.value) for word in node.keywords}
            case ast.Attribute(value=ast.Name(id=module), attr=name) if module in modules:
                return getattr(modules[module], name)
            case ast.List(elts=parts):
                return [value(part) for part in parts]
        return ast.literal_eval(node)

    try:
        return value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, AttributeError) as error:
        raise UserError(
            f"RL Zoo's setting {text!r} cannot be read ({error}): leave --hyperparameters zoo out"
        ) from error


def _version(name: str) -> int:
    return int(name.rsplit("-v", 1)[1])


def _check(algorithm: str, name: str, entry: dict[str, Any]) -> None:
    for key in (key for key in (*_SEEN_OTHERWISE, *_UNKNOWN) if entry.get(key)):
        named = [part for value in _each(entry[key]) if (part := str(value).split(".")[0]) and "." in str(value)]
        missing = [package for package in named if not is_installed(package)]
        why = f"needs the package {missing[0]}, which is not installed" if missing else "is not supported here"
        if key in _SEEN_OTHERWISE and not missing:
            why = "changes what a policy sees, so that it could not act on its own"
        raise UserError(
            f"--hyperparameters zoo: RL Zoo's entry {name} of {algorithm} has {key}: {entry[key]}, which {why}: leave the "
            "flag out for the defaults of Stable-Baselines3"
        )


def _each(value: Any) -> list[Any]:
    if isinstance(value, list):
        return [part for one in value for part in _each(one)]
    return list(value) if isinstance(value, dict) else [value]
