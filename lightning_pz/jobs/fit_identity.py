"""What a fit depends on, kept in its run folder as identity.json, and compared before a run is resumed.

Imports nothing heavy, so that `sweeps` can use the list of settings that do not count.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from lightning_pz.common.files import write_text
from lightning_pz.common.identity import first_difference

VOLATILE = (
    "logs", "run_name", "ckpt_path", "config", "checkpoint.dirpath", "data.grown.threads", "trainer.accelerator",
    "trainer.default_root_dir", "trainer.detect_anomaly", "trainer.enable_model_summary", "trainer.enable_progress_bar",
    "trainer.log_every_n_steps", "trainer.profiler",
)  # fmt: skip
"""Settings that do not tell one run from another: they place it, show it, or say what computes it."""
RESUMABLE = ("trainer.max_time",)
"""Settings that may be others when a run is resumed, besides the volatile ones."""
_BY_CONTENT = ("env", "policy", "data.pool", "data.recipe", "data.random", "data.grown")
"""Settings that environment and pool stand for, which are compared by content."""
_FILE = "identity.json"


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings under their dotted keys."""
    return dict(_leaves(prefix, settings))


def fit_identity(
    settings: Mapping[str, Any], env: Mapping[str, Any], pool: Mapping[str, Any], processes: int
) -> dict[str, Any]:
    """Return everything that decides the result of a fit, as plain data.

    Args:
        settings: All settings, nested.
        env: The environment's content.
        pool: Layout and recipe of the pool.
        processes: That share a training step.
    """
    return {**_decisive(settings), "env": dict(env), "pool": dict(pool), "processes": processes}


def write_identity(folder: Path, identity: Mapping[str, Any]) -> None:
    """Keep the identity in a run folder, unless it is there; infinite bounds are kept as such."""
    if not (folder / _FILE).is_file():
        write_text(folder / _FILE, json.dumps(identity, indent=2) + "\n")


def run_difference(folder: Path, wanted: Mapping[str, Any]) -> str | None:
    """Return the first difference between a run on disk and a fit; None if the run is one of that fit.

    A run from before identities were kept is compared by its config.yaml. What is not known of a run does not count.
    """
    return first_difference(_found(folder, wanted), wanted, ignore=RESUMABLE, known_only=True)


def _found(folder: Path, wanted: Mapping[str, Any]) -> dict[str, Any]:
    try:
        if (folder / _FILE).is_file():
            return dict(json.loads((folder / _FILE).read_text()))
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
        if place not in VOLATILE and place not in _BY_CONTENT:
            kept[key] = _decisive(value, f"{place}.") if isinstance(value, Mapping) else value
    return kept


def _leaves(prefix: str, settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _leaves(f"{prefix}{key}.", value)
        else:
            yield prefix + key, value
