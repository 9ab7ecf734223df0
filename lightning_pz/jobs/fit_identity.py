"""The identity of a fit, in identity.json, compared before a run is resumed, and what a given pool says of its recipe.

Imports nothing heavy.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lightning_pz.common.command_line import flat_settings
from lightning_pz.common.errors import UserError
from lightning_pz.common.files import write_text
from lightning_pz.common.identity import first_difference
from lightning_pz.common.known_folders import WHOLE

_VOLATILE = (
    "logs", "logger", "run_name", "ckpt_path", "config", "checkpoint.dirpath", "data.grown.threads", "trainer.accelerator",
    "trainer.default_root_dir", "trainer.detect_anomaly", "trainer.enable_model_summary", "trainer.enable_progress_bar",
    "trainer.log_every_n_steps", "trainer.profiler",
)  # fmt: skip
"""Settings that do not change the result: they place a run, show it, or choose what computes it."""
_RESUMABLE = ("trainer.max_time",)  # Settings that may change when a run is resumed, besides the volatile ones
_BY_CONTENT = ("env", "policy", "decodes", "data.pool", "data.recipe", "data.random", "data.grown")
"""Settings that are compared by the content of environment and pool instead."""
_RECIPE = "data.recipe"
_KL_WEIGHT = 1e-3
"""Default of the model, by which fits without a divergence are known whatever they were given."""


def fit_identity(
    settings: Mapping[str, Any], env: Mapping[str, Any], pool: Mapping[str, Any], processes: int
) -> dict[str, Any]:
    """Return what decides a fit, as plain data: settings, content of environment and pool, processes of a step."""
    return _used({**_decisive(settings), "env": dict(env), "pool": dict(pool), "processes": processes})


def used_by_model(hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model's hyperparameters, with the default for the weight of a divergence that its bottleneck does not have."""
    kept = dict(hyperparameters)
    if "kl_weight" in kept and kept.get("bottleneck", "plain") != "variational":
        kept["kl_weight"] = _KL_WEIGHT
    return kept


def write_identity(folder: Path, identity: Mapping[str, Any]) -> None:
    """Write the identity into a run folder, unless it is there; infinite bounds stay infinite."""
    if not (folder / WHOLE).is_file():
        write_text(folder / WHOLE, json.dumps(identity, indent=2) + "\n")


def run_difference(folder: Path, wanted: Mapping[str, Any]) -> str | None:
    """Return the first difference between a run on disk and a fit; None if the run is one of that fit.

    A run from before identities were kept is compared by its config.yaml; keys that it lacks do not count. In an identity
    they do: what is left out there has its default, such as the head of a layout.
    """
    known_only = not (folder / WHOLE).is_file()
    return first_difference(_found(folder, wanted), wanted, ignore=_RESUMABLE, known_only=known_only)


def check_pool_words(
    arguments: Sequence[str], folder: Path, made: Mapping[str, Any], wanted: Mapping[str, Mapping[str, Any]], *,
    known_only: bool = False,
) -> None:  # fmt: skip
    """Raise `UserError` if the command line names a recipe, or a setting of one, by which a given pool was not made.

    Such a pool is used as it is, so the word would have no effect. One that says how the pool was made is no mistake, nor is
    what presets choose or a `--config` file holds: the config.yaml of a run on a given pool, which repeats it, has the recipe
    of the pool that would have been made otherwise.

    Args:
        arguments: Of the command, with or without presets.
        folder: Of the given pool.
        made: The recipe in the pool's identity, with its `kind`.
        wanted: What the settings make of each kind of recipe: its identity.
        known_only: Whether keys that `made` lacks do not count.
    """
    kind, known = made["kind"], flat_settings(made)
    for name, value in _recipe_words(arguments):
        if name == _RECIPE:
            told = None if value == kind else f"its recipe is {kind}, not {value}"
        else:
            _, other, key = name.split(".", 2)
            asked = flat_settings(wanted[other]).get(key)
            differs = known.get(key) != asked and not (known_only and key not in known)
            told = f"{key} is {known.get(key)}, not {asked}" if differs else None
            told = f"its recipe is {kind}, not {other}" if other != kind else told
        if told is not None:
            raise UserError(
                f"--{name} has no effect on the pool of --data.pool, {folder}, which is used as it is: {told}. Leave "
                f"--{name} out, or leave --data.pool out to have a pool made"
            )


def _recipe_words(arguments: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the plain value of every setting of recipes among arguments, one by one."""
    for word, after in itertools.pairwise([*arguments, ""]):
        name, is_joined, text = word.removeprefix("--").partition("=")
        if word.startswith("--data"):
            value: Any = text if is_joined else after
            with contextlib.suppress(yaml.YAMLError):
                value = yaml.safe_load(value)
            for key, one in flat_settings({name: value}).items():
                if key == _RECIPE or key.startswith(("data.random.", "data.grown.")):
                    yield key, one


def _found(folder: Path, wanted: Mapping[str, Any]) -> dict[str, Any]:
    try:
        if (folder / WHOLE).is_file():
            return _used(json.loads((folder / WHOLE).read_text()))
        config = yaml.safe_load((folder / "config.yaml").read_text())
        found = _decisive(config)
        if not config["data"].get("pool"):
            kind = config["data"]["recipe"]
            own = {"kind": kind} | config["data"][kind]
            found["pool"] = {"recipe": {key: own[key] for key in wanted["pool"]["recipe"] if key in own}}
        return _used(found)
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        return {"settings": f"unreadable ({type(error).__name__})"}


def _used(identity: Mapping[str, Any]) -> dict[str, Any]:
    model = identity.get("model")
    return {**identity, "model": used_by_model(model)} if isinstance(model, Mapping) else dict(identity)


def _decisive(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    kept = {}
    for key, value in settings.items():
        place = f"{prefix}{key}"
        if place not in _VOLATILE and place not in _BY_CONTENT:
            kept[key] = _decisive(value, f"{place}.") if isinstance(value, Mapping) else value
    return kept
