"""Finished runs of `finetune`, read from their folders; what cannot be compared is named and left out."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from lightning_pz.common.errors import UserError
from lightning_pz.common.known_folders import WHOLE
from lightning_pz.envs.presets import env_name
from lightning_pz.search.settings import ALGORITHMS, SearchSettings

_MARKS = ("identity", "summary.json", "curve.csv")
_SHARED = ("evaluation_episodes", "test_episodes")
"""Settings without which returns of one task cannot be compared at all."""


@dataclass(frozen=True)
class Run:
    """One finished search.

    Attributes:
        folder: Where it lies.
        env: Short name of the environment.
        env_id: Its Gymnasium id.
        policy: Name of the policy size.
        task: Name of the task.
        algorithm: One of `ALGORITHMS`.
        tag: The checkpoint in a few letters, as in the folder's name.
        seed: Seed of the search.
        budget: Environment steps it was given.
        env_steps: Environment steps it took.
        seconds: Wall time, evaluation included.
        final: Return on the test episodes, which chose nothing; NaN if not finite.
        steps: Environment steps of the evaluations, (E,), ascending.
        returns: Return of the incumbent at each, (E,); NaN if not finite.
        settings: What decides the result, flat, without the seed.
        checkpoint: Path of the autoencoder, as it was given.
    """

    folder: Path
    env: str
    env_id: str
    policy: str
    task: str
    algorithm: str
    tag: str
    seed: int
    budget: int
    env_steps: int
    seconds: float
    final: float
    steps: np.ndarray
    returns: np.ndarray
    settings: dict[str, Any]
    checkpoint: str = ""


@dataclass(frozen=True)
class Found:
    """What lay below the given folders.

    Attributes:
        runs: Finished runs, in the order of their folders.
        left_out: Folder and reason of each other run.
    """

    runs: tuple[Run, ...]
    left_out: tuple[tuple[Path, str], ...]


def find_runs(folders: Sequence[Path]) -> Found:
    """Read every run at or below the given folders, each once.

    Raises:
        UserError: A folder is missing, or there is no finished run.
    """
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
            runs.append(read_run(path))
        except (UserError, OSError, ValueError, KeyError, TypeError, csv.Error, yaml.YAMLError) as error:
            left_out.append((path, _reason(error)))
    finite = {(run.env, run.task) for run in runs if np.isfinite(run.returns).any()}
    for run in runs:
        # Beside others it counts as the worst that was seen; on a task where nothing was seen there is no worst.
        if (run.env, run.task) not in finite:
            left_out.append((run.folder, f"no run on {run.env} {run.task} has a finite return"))
    runs = [run for run in runs if (run.env, run.task) in finite]
    if not runs:
        named = "; ".join(f"{path}: {reason}" for path, reason in left_out[:3])
        raise UserError(
            f"expected finished runs of python -m lightning_pz.finetune below {', '.join(map(str, folders))}, but "
            + (f"of {len(left_out)} there none can be used ({named})" if left_out else "there is no run at all")
            + ": run or finish them, or give another folder"
        )
    return Found(tuple(runs), tuple(left_out))


def read_run(folder: Path) -> Run:
    """Read one run.

    Raises:
        OSError, ValueError, KeyError, TypeError: It is unfinished, broken, or no run of `finetune`.
    """
    if not (folder / "summary.json").is_file():
        raise ValueError("unfinished")
    summary = json.loads((folder / "summary.json").read_text())
    if summary["algorithm"] not in ALGORITHMS:
        raise ValueError(f"algorithm {summary['algorithm']!r} is not one of {', '.join(ALGORITHMS)}")
    steps, returns = _curve(folder / "curve.csv")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    # Runs from before there was a choice drew Gaussian latents.
    settings = _flat(_settings(SearchSettings, {"latents": "gaussian"} | config).identity())
    settings.pop("seed")
    if "start" in settings:
        settings["start"] = _start_of(folder) or settings["start"]
    task, algorithm = summary["task"], summary["algorithm"]
    tag = re.fullmatch(rf"{algorithm}-(.+)-seed{summary['seed']}(-\d+)?", folder.name)
    return Run(
        folder=folder,
        env=env_name(summary["env"]),
        env_id=summary["env"],
        policy=summary["policy"],
        task=task,
        algorithm=algorithm,
        tag=tag.group(1) if tag else f"{summary['policy']}-k{summary['latent_dim']}",
        seed=int(summary["seed"]),
        budget=int(summary["budget"]),
        env_steps=int(summary["env_steps"]),
        seconds=float(summary["seconds"]),
        final=math.nan if summary[f"{task}/return"] is None else float(summary[f"{task}/return"]),
        steps=steps,
        returns=returns,
        settings=settings,
        checkpoint=summary.get("checkpoint", ""),
    )


Cells = dict[tuple[str, str], dict[str, list[Run]]]
"""Runs by (environment, task) and then by contender, seeds ascending."""


def cells(runs: Sequence[Run]) -> Cells:
    """Sort runs into cells: one contender on one task.

    A contender is an algorithm, with what it does otherwise than usual, such as `pgpe pool_top`; where an algorithm was run from several checkpoints of one environment, or in several
    ways, each makes a contender of its own, `<algorithm> <tag>`. Where every seed of the search has a checkpoint
    trained with that very seed, these checkpoints are one.

    Raises:
        UserError: Runs of one cell differ in more than the seed, a seed is there twice, or the runs of one task were
            measured on different numbers of episodes.
    """
    by_algorithm: dict[tuple[str, str], list[Run]] = {}
    for run in sorted(runs, key=lambda r: (r.env, ALGORITHMS.index(r.algorithm), r.tag, r.seed)):
        by_algorithm.setdefault((run.env, run.algorithm), []).append(run)
    labels = {key: _labels(members) for key, members in by_algorithm.items()}
    several = {algorithm for (_, algorithm), found in labels.items() if len(set(found)) > 1}
    grouped: Cells = {}
    for (env, algorithm), members in by_algorithm.items():
        for run, label in zip(members, labels[env, algorithm], strict=True):
            name = f"{algorithm} {label if algorithm in several else _parts(run)[2]}".strip()
            grouped.setdefault((env, run.task), {}).setdefault(name, []).append(run)
    for (env, task), contenders in grouped.items():
        for name, members in contenders.items():
            _check_cell(f"{name} on {env} {task}", members)
        first = next(iter(contenders.values()))[0]
        for members in contenders.values():
            _check_equal(f"all runs on {env} {task}", first, members[0], _SHARED)
    return grouped


def _labels(runs: Sequence[Run]) -> list[str]:
    """Return what tells one contender of an algorithm from another, run by run."""
    kinds = [(size, way) for size, _, way in map(_parts, runs)]
    own = dict.fromkeys(kinds, True)
    for run, kind in zip(runs, kinds, strict=True):
        own[kind] &= _parts(run)[1] == run.seed
    for kind in own:
        own[kind] &= len({run.tag for run, other in zip(runs, kinds, strict=True) if other == kind}) > 1
    one_size = all(own.values()) and len({size for size, _ in own}) == 1
    return [
        run.tag if not own[size, way] else way if one_size else f"{size}-{way}".strip("-")
        for run, (size, way) in zip(runs, kinds, strict=True)
    ]


def _parts(run: Run) -> tuple[str, int | None, str]:
    """Return policy and latent size, the seed of the fit, and what the search does otherwise than usual."""
    found = re.fullmatch(r"(.+-k\d+)-(?:seed(\d+)|[0-9a-f]{8})(?:-(.+))?", run.tag)
    if found is None:
        return run.tag, None, ""
    return found.group(1), None if found.group(2) is None else int(found.group(2)), found.group(3) or ""


def _check_cell(name: str, runs: list[Run]) -> None:
    seen: dict[int, Run] = {}
    for run in runs:
        _check_equal(f"all runs of {name}", runs[0], run, sorted({*runs[0].settings, *run.settings}))
        if run.seed in seen:
            raise UserError(
                f"expected one run of {name} per seed, but seed {run.seed} is in {seen[run.seed].folder} and in "
                f"{run.folder}: give only one of them"
            )
        seen[run.seed] = run


def _check_equal(name: str, one: Run, other: Run, keys: Sequence[str]) -> None:
    for key in keys:
        ours, theirs = one.settings.get(key), other.settings.get(key)
        if ours != theirs:
            raise UserError(
                f"expected {name} to have the same {key}, but it is {ours} in {one.folder} and {theirs} in "
                f"{other.folder}: give folders of one setting, or run the others again"
            )


def _start_of(folder: Path) -> str | None:
    """Return a digest of the policy in the file at which a run began; None if it did not, or does not tell."""
    try:
        return json.loads((folder / WHOLE).read_text())["start"]
    except (OSError, ValueError, KeyError):
        return None


def _curve(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with path.open(newline="") as file:
        rows = [(int(row["env_steps"]), float(row["eval_return"])) for row in csv.DictReader(file)]
    if not rows:
        raise ValueError("curve.csv has no row")
    steps, returns = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    if (np.diff(steps) < 0).any():
        raise ValueError("curve.csv has environment steps that go back")
    return steps, np.where(np.isfinite(returns), returns, np.nan)


def _settings(kind: type, values: dict[str, Any]) -> Any:
    """Build nested settings from plain values; unknown keys are of the command, not of the search."""
    given: dict[str, Any] = {}
    defaults = kind()
    for field in fields(kind):
        if field.name in values:
            default, value = getattr(defaults, field.name), values[field.name]
            given[field.name] = _settings(type(default), value) if is_dataclass(default) else value
    return kind(**given)


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= {f"{key}.{inner}": v for inner, v in value.items()} if isinstance(value, dict) else {key: value}
    return flat


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"broken: {error.args[0]!r} is missing"
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"broken: {Path(error.filename).name} is missing"
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return text if text == "unfinished" else f"broken: {text}"
