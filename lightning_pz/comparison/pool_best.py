"""The best policy that was in the pool before any search, as `evaluate` measured it."""

from __future__ import annotations

import csv
import functools
import json
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lightning_pz.common.errors import UserError
from lightning_pz.common.statistics import Estimate, estimate, read_estimate
from lightning_pz.comparison.same_problem import other_problem
from lightning_pz.comparison.search_runs import BROKEN, SearchRun, read_identity

_BEST = "/best_in_pool_fresh"


class PoolMark(NamedTuple):
    """What is known of a pool behind a run or an evaluation; None where it is not known."""

    digest: str | None = None  # of its content
    name: str | None = None  # of its folder, for what earlier versions left behind

    def is_same(self, other: PoolMark) -> bool:
        """Return whether both are of one pool; names count only where a digest is missing."""
        if self.digest and other.digest:
            return self.digest == other.digest
        return self.name is not None and self.name == other.name


UNMARKED = PoolMark()


@dataclass(frozen=True)
class PoolBest:
    """One evaluation of a pool."""

    path: Path  # its summary.json
    env_id: str  # Gymnasium id of the environment
    policy: str  # name of the policy size
    policies: int  # policies of the pool that were played
    # return of the best of them with its interval, by task: on fresh episodes, since those that chose it flatter it
    best: dict[str, Estimate]
    median: dict[str, float]  # median return of the pool, by task; empty if the episodes do not lie beside the summary
    pool: PoolMark = UNMARKED  # which pool
    checkpoint: str | None = None  # digest of the evaluated checkpoint; None in evaluations of earlier versions
    growth_steps: int | None = None  # environment steps that growing it took, if it was grown
    # what decided it; empty in evaluations of earlier versions
    identity: Mapping[str, Any] = field(default_factory=dict, compare=False)


def find_pools(runs: Sequence[SearchRun], given: Sequence[Path]) -> dict[str, PoolBest]:
    """Return the evaluation to use for each environment, by its short name; environments without one are missing.

    The given summaries (files or folders) count alone, and several of one environment, such as pools grown with several
    seeds, are averaged; one that is broken or fits no run raises `UserError`. Otherwise, of those below `evaluate/<env>`
    in the logs folder that holds the runs, the one that played the most policies is taken for each pool that the runs
    searched (for all pools together, where the pool of no run is known). An evaluation in another environment than the runs',
    at another horizon for instance, or of a task that was edited since, is not compared with them.
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
        own = [run for run in runs if run.env == env]
        fitting = [p for p in pools or _beside(own) if p.env_id == env_id and p.policy in policies]
        fitting = [p for pool in fitting if (p := _of_their_problem(pool, own, is_given=bool(pools))) is not None]
        if fitting := fitting if pools else _searched(fitting, own):
            chosen[env] = average_pools(fitting)
    return chosen


def _of_their_problem(pool: PoolBest, runs: Sequence[SearchRun], *, is_given: bool) -> PoolBest | None:
    """Return an evaluation without the tasks that are surely not those of the runs; None where no other is left.

    A given one raises `UserError` instead.
    """
    told = {run.task: why for run in runs if (why := other_problem(run, pool.identity)) is not None}
    if told and is_given:
        task, why = next(iter(told.items()))
        raise UserError(
            f"--evaluation expects an evaluation of what the runs were searched for, but in {pool.path}, {task}, {why} as in "
            "the runs: evaluate again, or leave it out"
        )
    best = {task: value for task, value in pool.best.items() if task not in told}
    median = {task: value for task, value in pool.median.items() if task not in told}
    return replace(pool, best=best, median=median) if best or not told else None


def _searched(pools: Sequence[PoolBest], runs: Sequence[SearchRun]) -> list[PoolBest]:
    """Return one evaluation for each pool that the runs searched, that of the most policies.

    A grown pool holds other policies than a random one; the best of it is no reference for searches elsewhere.
    """
    digests = {pool.checkpoint: pool.pool.digest for pool in pools if pool.checkpoint}
    marks = [_mark_of_run(run, digests) for run in runs]
    known = [mark for mark in marks if mark != UNMARKED]
    found: list[PoolBest] = []
    for pool in sorted(pools, key=lambda pool: pool.policies)[::-1]:
        if not known:
            return [pool]
        if any(map(pool.pool.is_same, known)) and not any(pool.pool.is_same(other.pool) for other in found):
            found.append(pool)
    return found


def _mark_of_run(run: SearchRun, digests: dict[str, str | None]) -> PoolMark:
    """Return the pool behind a run, given those of evaluated checkpoints: checkpoints of early versions digest another way."""
    pool, root = run.identity.get("pool"), logs_root(run)
    digest = digests.get(run.identity.get("checkpoint", ""), pool if pool in digests.values() else None)
    return PoolMark(digest, None if root is None else _pool_name(root, run.env, run.checkpoint))


def _pool_name(logs: Path, env: str, checkpoint: str) -> str | None:
    """Return the name of the pool behind a checkpoint, if its fit lies in the same logs folder."""
    pool = _json_value(logs / "fit" / env / Path(checkpoint).parent.parent.name / "summary.json", "pool")
    return None if pool is None else Path(pool).name


def _json_value(path: Path, *keys: str | int) -> Any:
    """Return a value that lies at some keys within a JSON file; None where the file or a key is missing."""
    try:
        return functools.reduce(operator.getitem, keys, json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


def average_pools(pools: Sequence[PoolBest]) -> PoolBest:
    """Return several pools as one: interquartile means over pools, with their interval or range over pools."""
    if len(pools) == 1:
        return pools[0]
    grown = [pool.growth_steps for pool in pools]
    tasks = [task for task in pools[0].best if all(task in pool.best for pool in pools)]
    medians = [task for task in tasks if all(task in pool.median for pool in pools)]
    return replace(
        pools[0],
        policies=sum(pool.policies for pool in pools),
        best={task: estimate([np.array([pool.best[task].value for pool in pools])]) for task in tasks},
        median={task: float(np.mean([pool.median[task] for pool in pools])) for task in medians},
        growth_steps=None if None in grown else int(np.mean([steps for steps in grown if steps is not None])),
    )


def logs_root(run: SearchRun) -> Path | None:
    """Return the folder that holds `finetune/<env>/...` with this run, or None if it was moved elsewhere."""
    return next((p.parent for p in run.folder.absolute().parents if p.name == "finetune"), None)


def read_pool_best(path: Path) -> PoolBest:
    """Read one evaluation from its summary.json; a broken one raises one of `BROKEN`."""
    summary: dict[str, Any] = json.loads(path.read_text())
    tasks = [key.removesuffix(_BEST) for key in summary if key.endswith(_BEST)]
    best = {task: found for task in tasks if (found := read_estimate(summary, f"{task}{_BEST}")) is not None}
    if not best:
        raise ValueError(f"no key <task>{_BEST}: evaluations of earlier versions lack it, run evaluate again")
    file, above, identity = path.parent / "returns.csv", path.absolute().parents, read_identity(path.parent)
    median = _medians(file, list(best)) if file.is_file() else {}
    name = _pool_name(above[3], above[1].name, summary.get("checkpoint", "")) if len(above) > 3 else None
    # None for a pool that was not grown, or is gone.
    steps = _json_value(above[3] / "pools" / name / "pool.json", "growth", "history", -1, "steps") if name else None
    return PoolBest(
        path, summary["env"], summary["policy"], int(summary["policies"]), best, median,
        PoolMark(identity.get("pool"), name), identity.get("checkpoint"), None if steps is None else int(steps), identity,
    )  # fmt: skip


def _medians(path: Path, tasks: list[str]) -> dict[str, float]:
    """Return the pool's median by task, each policy averaged over its episodes; one with an invalid episode is out."""
    episodes: dict[str, list[list[float]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["group"] == "pool":
                valid = row["valid"] == "1"
                episodes.setdefault(row["policy"], []).append([float(row[t]) if valid else np.nan for t in tasks])
    means = np.array([np.mean(rows, axis=0) for rows in episodes.values()]).reshape(-1, len(tasks))
    means = means[np.isfinite(means).all(axis=1)]
    return dict(zip(tasks, np.median(means, axis=0).tolist(), strict=True)) if len(means) else {}


def _read_given(path: Path) -> PoolBest:
    file = path / "summary.json" if path.is_dir() else path
    try:
        return read_pool_best(file)
    except BROKEN as error:
        why = f"is none ({type(error).__name__}: {error}): give another"
        if isinstance(error, OSError):
            why = f"cannot be read ({error.strerror}): correct the path"
        raise UserError(
            f"--evaluation expects a summary.json that python -m lightning_pz.evaluate wrote, but {file} {why}, or leave it out"
        ) from error


def _beside(runs: Sequence[SearchRun]) -> list[PoolBest]:
    """Return the evaluations in the logs folders of the runs; broken ones are skipped, for none was asked for."""
    found = []
    for root in sorted({root for run in runs if (root := logs_root(run)) is not None}):
        for path in sorted((root / "evaluate" / runs[0].env).glob("*/summary.json")):
            try:
                found.append(read_pool_best(path))
            except BROKEN:
                continue
    return found
