"""Arguments of a learner's class on the command line and in files, laid over the shipped ones key by key."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lightning_pz.common.errors import UserError
from lightning_pz.envs.presets import merge

_FLAG = "--model"
_WHOLE = {
    "n_envs": 1, "n_steps": 1, "batch_size": 1, "n_epochs": 1, "buffer_size": 1, "learning_starts": 0,
    "target_update_interval": 1,
}  # fmt: skip
"""Arguments that are whole numbers, and the least of each."""
_MOST_ENVS = 1 << 16
_FLOAT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


def with_model_words(settings: dict[str, Any], words: Sequence[str]) -> list[str]:
    """Return the words with one `--model` at their end that holds the shipped arguments under all that the words say.

    `--model.ppo.n_steps 64` changes one argument, `--model.ppo.policy_kwargs.net_arch [8]` one within another,
    `--model '{ppo: {...}}'` and the section of a `--config` file as many as they name; later words win. Without any of them the
    words stay as they are. Raises `UserError` for a flag without a value, or one that is no mapping where it must be.
    """
    kept: list[str] = []
    model, is_said, left = dict(settings.get("model", {})), False, list(words)
    while left:
        word = left.pop(0)
        name, is_joined, value = word.partition("=")
        if name != _FLAG and not name.startswith(f"{_FLAG}."):
            kept.append(word)
            if name == "--config":
                own = _section(value if is_joined else (left[0] if left else ""))
                model, is_said = merge(model, own), is_said or bool(own)
            continue
        if not is_joined:
            if not left or left[0].startswith("--"):
                raise UserError(f"{name} expects a value, but nothing came after it")
            value = left.pop(0)
        model, is_said = merge(model, _nested(name, _plain(value))), True
    return (
        [*kept, f"{_FLAG}={yaml.safe_dump(model, default_flow_style=True, width=10**9).strip()}"] if is_said else kept
    )


def check_learner(name: str, options: Mapping[str, Any]) -> None:
    """Raise `UserError` for arguments of an algorithm that its class would take, and stumble over while it learns."""
    for key, least in _WHOLE.items():
        value = options.get(key, least)
        if type(value) is not int or value < least:
            raise UserError(f"--model.{name}.{key} expects a whole number of at least {least}, but got {value!r}")
    if options.get("n_envs", 1) > _MOST_ENVS:
        raise UserError(f"--model.{name}.n_envs expects 1 to {_MOST_ENVS}, but got {options['n_envs']}")
    if not isinstance(inner := options.get("policy_kwargs", {}), dict):
        raise UserError(f"--model.{name}.policy_kwargs expects arguments by name, but got {inner!r}")


def _nested(name: str, value: Any) -> dict[str, Any]:
    """Return what a flag says as a mapping from algorithms to their arguments."""
    keys = name.split(".")[1:]
    if len(keys) < 2 and not isinstance(value, dict):
        raise UserError(f"{name} expects arguments by name, such as {{n_steps: 64}}, but got {value!r}")
    for key in reversed(keys):
        value = {key: value}
    return value


def _section(path: str) -> dict[str, Any]:
    """Return the section of a file; a broken file, or section, is left to the parser."""
    with contextlib.suppress(OSError, ValueError, yaml.YAMLError):
        plain = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        own = plain.get("model") if isinstance(plain, dict) else None
        return _floats(own) if isinstance(own, dict) else {}
    return {}


def _plain(text: str) -> Any:
    try:
        return _floats(yaml.safe_load(text))
    except yaml.YAMLError:
        return text


def _floats(value: Any) -> Any:
    """Return plain data in which 1e-3 is a number, which YAML reads as a word."""
    if isinstance(value, dict):
        return {key: _floats(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_floats(one) for one in value]
    return float(value) if isinstance(value, str) and _FLOAT.fullmatch(value) else value
