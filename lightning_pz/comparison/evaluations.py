"""The best policy that was in the pool before any search, as `evaluate` measured it."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightning_pz.common.errors import UserError
from lightning_pz.common.statistics import Estimate, estimate, read_estimate
from lightning_pz.comparison.runs import Run


@dataclass(frozen=True)
class PoolBest:
    """One evaluation of a pool.

    Attributes:
        path: Its summary.json.
        env_id: Gymnasium id of the environment.
        policy: Name of the policy size.
        policies: Policies of the pool that were played.
        best: Return of the best of them with its interval, by task: on fresh episodes, since those that chose it
            flatter it.
        median: Median return of the pool, by task; empty if the episodes do not lie beside the summary.
        pool: Name of the pool, if the fit is still there.
        growth_steps: Environment steps that growing it took, if it was grown.
    """

    path: Path
    env_id: str
    policy: str
    policies: int
    best: dict[str, Estimate]
    median: dict[str, float]
    pool: str | None = None
    growth_steps: int | None = None


def find_pools(runs: Sequence[Run], given: Sequence[Path]) -> dict[str, PoolBest]:
    """Return the evaluation to use for each environment, by its short name; environments without one are missing.

    Given summaries count alone, and several of one environment, such as pools grown with several seeds, are taken
    together. Otherwise those below `evaluate/<env>` in the logs folder that holds the runs are looked at: for each
    pool that the runs searched (for all together, where no run tells) the one that played the most policies is taken.

    Args:
        runs: What is compared.
        given: summary.json files, or folders that hold one.

    Raises:
        UserError: A given summary is missing, broken, or fits none of the runs.
    """
    chosen: dict[str, PoolBest] = {}
    sizes: dict[str, tuple[str, set[str]]] = {}
    for run in runs:
        sizes.setdefault(run.env, (run.env_id, set()))[1].add(run.policy)
    pools = [_read_given(path) for path in given]
    for pool in pools:
        if all(pool.env_id != env_id or pool.policy not in policies for env_id, policies in sizes.values()):
            wanted = ", ".join(f"{'/'.join(sorted(policies))} policies on {i}" for i, policies in sizes.values())
            raise UserError(
                f"--evaluation expects an evaluation of {wanted}, but {pool.path} is of {pool.policy} policies on "
                f"{pool.env_id}: give another, or leave it out"
            )
    for env, (env_id, policies) in sizes.items():
        fitting = [p for p in pools or _beside(runs, env) if p.env_id == env_id and p.policy in policies]
        if not pools:
            fitting = _searched(fitting, [run for run in runs if run.env == env])
        if fitting:
            chosen[env] = together(fitting)
    return chosen


def _searched(pools: Sequence[PoolBest], runs: Sequence[Run]) -> list[PoolBest]:
    """Return one evaluation for each pool that the runs searched, that of the most policies.

    A grown pool holds other policies than a random one; the best of it is no reference for searches elsewhere.
    """
    names = {name for run in runs if (name := _pool_name(logs_root(run), run.env, run.checkpoint)) is not None}
    found: dict[str | None, PoolBest] = {}
    for pool in sorted(pools, key=lambda pool: pool.policies):
        if not names or pool.pool in names:
            found[pool.pool if names else None] = pool
    return list(found.values())


def _pool_name(logs: Path | None, env: str, checkpoint: str) -> str | None:
    """Return the name of the pool behind a checkpoint, if its fit lies in the same logs folder."""
    if logs is None or not checkpoint:
        return None
    summary = logs / "fit" / env / Path(checkpoint).parent.parent.name / "summary.json"
    try:
        return Path(json.loads(summary.read_text())["pool"]).name
    except (OSError, ValueError, KeyError, TypeError):
        return None


def together(pools: Sequence[PoolBest]) -> PoolBest:
    """Return several pools as one: interquartile means over pools, with their interval or range over pools."""
    if len(pools) == 1:
        return pools[0]
    grown = [pool.growth_steps for pool in pools]
    tasks = [task for task in pools[0].best if all(task in pool.best for pool in pools)]
    return PoolBest(
        path=pools[0].path,
        env_id=pools[0].env_id,
        policy=pools[0].policy,
        policies=sum(pool.policies for pool in pools),
        best={task: estimate([np.array([pool.best[task].value for pool in pools])]) for task in tasks},
        median={
            task: float(np.mean([pool.median[task] for pool in pools]))
            for task in tasks
            if all(task in pool.median for pool in pools)
        },
        growth_steps=None if None in grown else int(np.mean([steps for steps in grown if steps is not None])),
    )


def logs_root(run: Run) -> Path | None:
    """Return the folder that holds `finetune/<env>/...` with this run, or None if it was moved elsewhere."""
    return next((p.parent for p in run.folder.absolute().parents if p.name == "finetune"), None)


def read_pool(path: Path) -> PoolBest:
    """Read one evaluation.

    Raises:
        OSError, ValueError, KeyError, TypeError: It is broken or something else.
    """
    summary: dict[str, Any] = json.loads(path.read_text())
    best = {}
    for key in summary:
        if key.endswith("/best_in_pool_fresh") and (found := read_estimate(summary, key)) is not None:
            best[key.removesuffix("/best_in_pool_fresh")] = found
    if not best:
        raise ValueError(
            "no key <task>/best_in_pool_fresh: evaluations of earlier versions lack it, run evaluate again"
        )
    file = path.parent / "returns.csv"
    median = _medians(file, list(best)) if file.is_file() else {}
    above = path.absolute().parents
    name = _pool_name(above[3], above[1].name, summary.get("checkpoint", "")) if len(above) > 3 else None
    steps = None if name is None else _growth_steps(above[3] / "pools" / name / "pool.json")
    return PoolBest(path, summary["env"], summary["policy"], int(summary["policies"]), best, median, name, steps)


def _growth_steps(path: Path) -> int | None:
    """Return the environment steps that a pool took to grow, or None for one that was not grown, or is gone."""
    try:
        return int(json.loads(path.read_text())["growth"]["history"][-1]["steps"])
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


def _medians(path: Path, tasks: list[str]) -> dict[str, float]:
    """Return the pool's median by task, each policy averaged over its episodes; one with an invalid episode is out."""
    episodes: dict[str, list[list[float]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["group"] == "pool":
                valid = row["valid"] == "1"
                numbers = [float(row[task]) if valid else np.nan for task in tasks]
                episodes.setdefault(row["policy"], []).append(numbers)
    if not episodes:
        return {}
    means = np.array([np.mean(rows, axis=0) for rows in episodes.values()])
    means = means[np.isfinite(means).all(axis=1)]
    return dict(zip(tasks, np.median(means, axis=0).tolist(), strict=True)) if len(means) else {}


def _read_given(path: Path) -> PoolBest:
    file = path / "summary.json" if path.is_dir() else path
    try:
        return read_pool(file)
    except OSError as error:
        raise UserError(
            f"--evaluation expects a summary.json that python -m lightning_pz.evaluate wrote, but {file} cannot be "
            f"read ({error.strerror}): correct the path, or leave it out"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"--evaluation expects a summary.json that python -m lightning_pz.evaluate wrote, but {file} is none "
            f"({type(error).__name__}: {error}): give another, or leave it out"
        ) from error


def _beside(runs: Sequence[Run], env: str) -> list[PoolBest]:
    found = []
    for root in sorted({root for run in runs if run.env == env and (root := logs_root(run)) is not None}):
        for path in sorted((root / "evaluate" / env).glob("*/summary.json")):
            try:
                found.append(read_pool(path))
            except (OSError, ValueError, KeyError, TypeError):
                continue  # nobody asked for this one
    return found
