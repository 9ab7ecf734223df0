"""What decides a run of the few-episode study, by its content: every setting as the commands resolve it, and what it names.

A setting that the study's file leaves out counts with its default, so that a run is not found again once that has changed.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_pz.common.command_line import flat_settings
from lightning_pz.common.identity import digest
from lightning_pz.envs.episode_identity import task_sources, versions
from lightning_pz.envs.presets import expand_presets, load_preset, resolve_env
from lightning_pz.envs.specs import env_spec
from lightning_pz.finetune import parse
from lightning_pz.search.rivals.zoo import zoo_entry
from lightning_pz.search.settings import BASELINES, SearchSettings
from sweeps.few_episodes.few_grid import Cell
from sweeps.fits import Fit

_LEARNERS = ("stable_baselines3", "sb3_contrib")


def run_key(cell: Cell) -> str:
    """Return a digest of what decides a run: search, environment, task, versions, and the fit or RL Zoo's entry."""
    env_id, search = _env(cell.env)["id"], search_of(cell)
    content: dict[str, Any] = {
        "search": search.identity(), "env": _env(cell.env), "task_source": _task_source(env_id, cell.task),
    }  # fmt: skip
    if search.start == "pool_steady":
        from lightning_pz.replay.steady import steady_settings  # it imports torch

        content["steady"] = steady_settings()
    entry = _entry(search, cell, env_id) if search.algorithm in BASELINES else None
    if cell.reads_pool:
        pool = cell.where.pools[cell.contender.pool]
        # All fits of a kind differ in their seeds alone.
        fit = _fit_identity(cell.env, cell.where.policy, json.dumps(pool.fit, sort_keys=True))
        own = [content, fit, cell.seed % pool.seeds, _versions(env_id, "torch")]
        return digest(own if entry is None else [*own, entry, _versions(env_id, *_LEARNERS)])[:16]
    return digest([content, entry, _versions(env_id, "torch", *_LEARNERS)])[:16]


def _entry(search: SearchSettings, cell: Cell, env_id: str) -> Mapping[str, Any]:
    return (
        _zoo_entry(search.algorithm, env_id).settings if search.hyperparameters == "zoo" else _policy(cell.where.policy)
    )


def search_of(cell: Cell) -> SearchSettings:
    """Return the settings of a run's search; `SystemExit` or `UserError` for settings that `finetune` refuses."""
    shared = _parsed(json.dumps(cell.settings, sort_keys=True))
    return dataclasses.replace(shared, task=cell.task, seed=cell.seed)


# A study has thousands of runs, and few settings, environments and kinds of fits.
@functools.cache
def _parsed(settings: str) -> SearchSettings:
    return parse([f"--{key}={value}" for key, value in json.loads(settings).items()])[1]


_versions = functools.cache(versions)
_zoo_entry = functools.cache(zoo_entry)


@functools.cache
def _env(name: str) -> dict[str, Any]:
    plain = resolve_env(name)["env"]
    return env_spec(plain["id"], plain.get("horizon"), plain.get("kwargs")).identity()


@functools.cache
def _task_source(env_id: str, task: str) -> str:
    return task_sources(env_id, [task])[task]


@functools.cache
def _policy(name: str) -> Mapping[str, Any]:
    return flat_settings(load_preset("policy", name)["policy"])


@functools.cache
def _fit_identity(env: str, policy: str, settings: str) -> dict[str, Any]:
    """Return the identity of the fit whose seeds are 0, as `fit` itself has it."""
    from lightning_pz.jobs.fit import prepare_fit

    own = {key: 0 if value == "{seed}" else value for key, value in json.loads(settings).items()}
    fit = Fit("key", env, _env(env)["id"], policy, own | {"seed_everything": 0}, str(Path("logs")))
    return prepare_fit(expand_presets("fit", fit.arguments())).identity()
