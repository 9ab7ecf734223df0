"""Reads finished runs of `finetune` from their folders, and groups them by task and contender."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from lightning_pz.common.command_line import flat_settings
from lightning_pz.common.errors import UserError
from lightning_pz.common.known_folders import WHOLE
from lightning_pz.comparison.labels import search_label
from lightning_pz.comparison.same_problem import check_same_problem
from lightning_pz.envs.presets import env_name
from lightning_pz.search.settings import ALGORITHMS, BASELINES, SearchSettings

_MARKS = ("identity", "summary.json", "curve.csv")
_SHARED = ("evaluation_episodes", "test_episodes", "episodes", "patience")
"""Settings without which returns of one task cannot be compared: what is measured, and what ends a search before its budget."""
BROKEN = (OSError, ValueError, KeyError, TypeError, csv.Error, yaml.YAMLError, UserError)
"""What reading an unfinished, broken or foreign folder can raise."""


@dataclass(frozen=True)
class SearchRun:
    """One finished search."""

    folder: Path  # where it lies
    env: str  # short name of the environment
    env_id: str  # its Gymnasium id
    policy: str  # name of the policy size
    task: str  # name of the task
    algorithm: str  # one of `ALGORITHMS`
    tag: str  # the checkpoint in a few letters, as in the folder's name
    seed: int  # seed of the search
    budget: int  # environment steps it was given
    env_steps: int  # environment steps it took
    seconds: float  # wall time, evaluation included
    final: float  # return on the test episodes, which chose nothing; NaN if not finite
    steps: np.ndarray  # environment steps of the evaluations, (E,), ascending
    returns: np.ndarray  # return of the incumbent at each, (E,); NaN if not finite
    settings: dict[str, Any]  # what decides the result, flat, without the seed
    label: str  # algorithm and settings for readers; see `search_label`
    checkpoint: str  # path of the autoencoder, as it was given
    identity: dict[str, Any]  # the contents of identity.json; empty in runs of earlier versions

    @property
    def fit(self) -> tuple[str, str]:
        """Policy and latent size in words, and the seed of the fit or a digest of the checkpoint, empty if unknown."""
        found = re.match(r"(.+?)-k(\d+)-(?:seed)?(\d+(?![^-])|[0-9a-f]{8})(?![^-])", self.tag)
        return (f"{found[1]}, k = {found[2]}", found[3]) if found else (self.tag, "")

    @property
    def fit_digest(self) -> str:
        """Digest of the checkpoint; of runs of earlier versions, which kept none, its name."""
        return self.identity.get("checkpoint") or self.tag

    @property
    def needs_fit(self) -> bool:
        """Whether its decoder or its pool decides anything; one that learns or draws weights from scratch needs neither."""
        if self.algorithm in BASELINES:
            return self.settings.get("space") is not None
        return self.algorithm != "parameter_pgpe" or self.settings.get("start", "draws") != "draws"


@dataclass(frozen=True)
class Found:
    """What lay below the given folders."""

    runs: tuple[SearchRun, ...]  # finished runs, in the order of their folders
    left_out: tuple[tuple[Path, str], ...]  # folder and reason of each other run


def find_runs(folders: Sequence[Path]) -> Found:
    """Read every run at or below the folders, each once; `UserError` for a missing folder or no finished run."""
    places: dict[Path, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UserError(
                f"expected a folder of runs such as logs/finetune/mountaincar, but there is none at {folder}: "
                "make runs with python -m lightning_pz.finetune, or correct the path"
            )
        for path in sorted({file.parent for mark in _MARKS for file in folder.rglob(mark)}):
            places.setdefault(path.resolve(), path)
    runs, left_out = [], []
    for path in places.values():
        try:
            runs.append(read_search(path))
        except BROKEN as error:
            left_out.append((path, _reason(error)))
    # Among others, a run without a finite return counts as the worst on its task; alone, there is no worst.
    finite = {(run.env, run.task) for run in runs if np.isfinite(run.returns).any()}
    without = [run for run in runs if (run.env, run.task) not in finite]
    left_out += [(run.folder, f"no run on {run.env} {run.task} has a finite return") for run in without]
    if not (runs := [run for run in runs if (run.env, run.task) in finite]):
        named = "; ".join(f"{path}: {reason}" for path, reason in left_out[:3])
        raise UserError(
            f"expected finished runs of python -m lightning_pz.finetune below {', '.join(map(str, folders))}, but "
            + (f"of {len(left_out)} there none can be used ({named})" if left_out else "there is no run at all")
            + ": run or finish them, or give another folder"
        )
    return Found(tuple(runs), tuple(left_out))


def read_search(folder: Path) -> SearchRun:
    """Read one run; one that is unfinished, broken, or not of `finetune` raises one of `BROKEN`."""
    if not (folder / "summary.json").is_file():
        raise ValueError("unfinished")
    summary = json.loads((folder / "summary.json").read_text())
    if summary["algorithm"] not in ALGORITHMS:
        raise ValueError(f"algorithm {summary['algorithm']!r} is not one of {', '.join(ALGORITHMS)}")
    steps, returns = _read_curve(folder / "curve.csv")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    # Runs from before there was a choice drew Gaussian latents.
    search = _settings(SearchSettings, {"latents": "gaussian"} | config)
    settings, identity = flat_settings(search.identity()), read_identity(folder)
    del settings["seed"]
    settings = {key: value for key, value in settings.items() if not key.startswith("rules.")} | _rules(identity)
    if "start" in settings:
        settings["start"] = identity.get("start") or settings["start"]
    task, algorithm = summary["task"], summary["algorithm"]
    tag = re.fullmatch(rf"{algorithm}-(.+)-seed{summary['seed']}(-\d+)?", folder.name)
    mark = re.search(r"-from-.+-([0-9a-f]{8})", folder.name)
    final = summary[f"{task}/return"]
    return SearchRun(
        folder, env_name(summary["env"]), summary["env"], summary["policy"], task, algorithm,
        tag=tag[1] if tag else f"{summary['policy']}-k{summary['latent_dim']}",
        seed=int(summary["seed"]), budget=int(summary["budget"]), env_steps=int(summary["env_steps"]),
        seconds=float(summary["seconds"]), final=math.nan if final is None else float(final),
        steps=steps, returns=returns, settings=settings, label=search_label(search, mark[1] if mark else ""),
        checkpoint=summary.get("checkpoint", ""), identity=identity,
    )  # fmt: skip


def _rules(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rules that a run followed, not those of today; the one of `answers` decides no curve."""
    own = identity.get("settings")
    rules = own.get("rules") or {} if isinstance(own, Mapping) else {}
    return {f"rules.{key}": value for key, value in rules.items() if key != "answers"}


def read_identity(folder: Path) -> dict[str, Any]:
    """Return the contents of a folder's identity.json; empty where there is none, as in earlier versions."""
    try:
        return dict(json.loads((folder / WHOLE).read_text()))
    except (OSError, ValueError):
        return {}


def group_runs(runs: Sequence[SearchRun]) -> dict[tuple[str, str], dict[str, list[SearchRun]]]:
    """Return the runs by (environment, task) and then by contender, seeds ascending.

    A contender is an algorithm with its settings, such as `latent PGPE from the pool's best`. An algorithm that was
    run from several checkpoints of one environment makes a contender of each, with the checkpoint in its name. Where
    every seed of the search has a checkpoint trained with that very seed, these checkpoints are one. `UserError` if runs
    of one contender differ in more than the seed or share one, or runs of a task differ in their numbers of episodes, in
    their environment or in the source of the task.
    """
    by_algorithm: dict[tuple[str, str], list[SearchRun]] = {}
    for run in sorted(runs, key=lambda r: (r.env, ALGORITHMS.index(r.algorithm), r.tag, r.seed)):
        by_algorithm.setdefault((run.env, run.algorithm), []).append(run)
    notes = {key: _checkpoint_notes(members) for key, members in by_algorithm.items()}
    several = {algorithm for (_, algorithm), found in notes.items() if len(set(found)) > 1}
    grouped: dict[tuple[str, str], dict[str, list[SearchRun]]] = {}
    for (env, algorithm), members in by_algorithm.items():
        for run, note in zip(members, notes[env, algorithm], strict=True):
            name = f"{run.label} ({note})" if algorithm in several else run.label
            grouped.setdefault((env, run.task), {}).setdefault(name, []).append(run)
    for (env, task), contenders in grouped.items():
        check_same_problem(f"{env} {task}", [run for members in contenders.values() for run in members])
        for name, members in contenders.items():
            _check_contender(f"{name} on {env} {task}", members)
        first, *others = (members[0] for members in contenders.values())
        for other in others:
            _check_equal(f"all runs on {env} {task}", first, other, _SHARED)
    return grouped


def _checkpoint_notes(runs: Sequence[SearchRun]) -> list[str]:
    """Return words that distinguish the checkpoint of each run from those of other contenders of the same algorithm."""
    kinds: dict[tuple[str, str], list[SearchRun]] = {}
    for run in runs:
        kinds.setdefault((run.fit[0], run.label), []).append(run)
    several = {kind for kind, members in kinds.items() if len({run.tag for run in members}) > 1}
    own = {kind for kind in several if all(run.fit[1] == str(run.seed) for run in kinds[kind])}
    return [
        size if (size, run.label) in own or not mark else f"{size}, {'seed ' * (len(mark) < 8)}{mark}"
        for run, (size, mark) in ((run, run.fit) for run in runs)
    ]


def _check_contender(name: str, runs: list[SearchRun]) -> None:
    seen: dict[int, Path] = {}
    for run in runs:
        _check_equal(f"all runs of {name}", runs[0], run, sorted({*runs[0].settings, *run.settings}))
        if (other := seen.setdefault(run.seed, run.folder)) is not run.folder:
            both = f"{other} and in {run.folder}"
            raise UserError(
                f"expected one run of {name} per seed, but seed {run.seed} is in {both}: give only one of them"
            )


def _check_equal(name: str, one: SearchRun, other: SearchRun, keys: Sequence[str]) -> None:
    for key in keys:
        ours, theirs = one.settings.get(key), other.settings.get(key)
        if ours != theirs:
            raise UserError(
                f"expected {name} to have the same {key}, but it is {ours} in {one.folder} and {theirs} in "
                f"{other.folder}: give folders of one setting, or run the others again"
            )


def _read_curve(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with path.open(newline="") as file:
        rows = [(int(row["env_steps"]), float(row["eval_return"])) for row in csv.DictReader(file)]
    if not rows:
        raise ValueError("curve.csv has no row")
    steps, returns = (np.array(column) for column in zip(*rows, strict=True))
    if (np.diff(steps) < 0).any():
        raise ValueError("curve.csv has environment steps that go back")
    return steps, np.where(np.isfinite(returns), returns, np.nan)


def _settings(kind: type, values: dict[str, Any]) -> Any:
    """Build nested settings from plain values; unknown keys are of the command, not of the search."""
    known = {name: default for name, default in vars(kind()).items() if name in values}
    return kind(**{
        name: _settings(type(default), values[name]) if is_dataclass(default) else values[name]
        for name, default in known.items()
    })  # fmt: skip


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"broken: {error.args[0]!r} is missing"
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"broken: {Path(error.filename).name} is missing"
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return text if text == "unfinished" else f"broken: {text}"
