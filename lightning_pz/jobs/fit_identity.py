"""The identity of a fit, in identity.json, compared before a run is resumed. Imports nothing heavy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

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
_FURTHER = ("others", "decodes")
"""What the pool's part of an identity says of further sizes of policy, if there are any."""


def fit_identity(
    settings: Mapping[str, Any], env: Mapping[str, Any], pool: Mapping[str, Any], processes: int
) -> dict[str, Any]:
    """Return what decides a fit, as plain data: settings, content of environment and pool, processes of a step."""
    return {**_decisive(settings), "env": dict(env), "pool": dict(pool), "processes": processes}


def write_identity(folder: Path, identity: Mapping[str, Any]) -> None:
    """Write the identity into a run folder, unless it is there; infinite bounds stay infinite."""
    if not (folder / WHOLE).is_file():
        write_text(folder / WHOLE, json.dumps(identity, indent=2) + "\n")


def run_difference(folder: Path, wanted: Mapping[str, Any]) -> str | None:
    """Return the first difference between a run on disk and a fit; None if the run is one of that fit.

    A run from before identities were kept is compared by its config.yaml; keys that it lacks do not count.
    """
    return first_difference(_found(folder, wanted), wanted, ignore=_RESUMABLE, known_only=True)


def _found(folder: Path, wanted: Mapping[str, Any]) -> dict[str, Any]:
    try:
        if (folder / WHOLE).is_file():
            found = dict(json.loads((folder / WHOLE).read_text()))
            # A run of one size does not mention others, and is not one of several all the same.
            found["pool"] = {key: [] for key in wanted["pool"] if key in _FURTHER} | found["pool"]
            return found
        config = yaml.safe_load((folder / "config.yaml").read_text())
        found = _decisive(config)
        if not config["data"].get("pool"):
            kind = config["data"]["recipe"]
            own = {"kind": kind} | config["data"][kind]
            found["pool"] = {"recipe": {key: own[key] for key in wanted["pool"]["recipe"] if key in own}}
        return found
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        return {"settings": f"unreadable ({type(error).__name__})"}


def _decisive(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    kept = {}
    for key, value in settings.items():
        place = f"{prefix}{key}"
        if place not in _VOLATILE and place not in _BY_CONTENT:
            kept[key] = _decisive(value, f"{place}.") if isinstance(value, Mapping) else value
    return kept
