"""The task-recovery dimension: the smallest latent size whose latent space holds what the pool can do on a task."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightning_pz.common.statistics import RANGE, UNKNOWN, Estimate, mean_interval, read_estimate, widened
from sweeps.dimension.runs import Group, is_grown


@dataclass(frozen=True)
class TaskDimension:
    """The smallest latent size that recovers a task.

    Attributes:
        task: Its name.
        value: Smallest size whose mean `recovery_best` over seeds is at least 1 - tolerance; infinity if none.
        low: The same by the upper ends of the intervals, or of the range over few seeds.
        high: The same by the lower ends.
        largest: Largest latent size that was evaluated.
        best: `recovery_best` there or at the largest size.
        seeds: Training seeds behind it.
        own: Whether the evaluations are of the study's own checkpoints.
        pool: Name of the pool behind them.
        kind: What the ends are, as for `Estimate`.
    """

    task: str
    value: float
    low: float
    high: float
    largest: int
    best: float
    seeds: int
    own: bool
    pool: str
    kind: str

    def text(self) -> str:
        """Return it for a table."""
        one = [f"{v:.0f}" if math.isfinite(v) else f"> {self.largest}" for v in (self.value, self.low, self.high)]
        return f"{one[0]} ({one[1]} to {one[2]})" if self.kind == RANGE else f"{one[0]} [{one[1]}, {one[2]}]"


def read_evaluations(logs: Path, env: str) -> list[dict[str, Any]]:
    """Return the summaries of all evaluations of an environment, each with the name of its `pool`, empty if unknown."""
    found = [json.loads(path.read_text()) for path in sorted((logs / "evaluate" / env).glob("*/summary.json"))]
    fits = logs / "fit" / env
    return [summary | {"pool": _pool(fits / Path(summary["checkpoint"]).parent.parent.name)} for summary in found]


def _pool(fit: Path) -> str:
    summary = fit / "summary.json"
    return Path(json.loads(summary.read_text())["pool"]).name if summary.is_file() else ""


def task_dimensions(group: Group, evaluations: Sequence[dict[str, Any]], tolerance: float) -> list[TaskDimension]:
    """Return the task-recovery dimension of every task; empty where nothing of this policy size was evaluated.

    Evaluations of several pools are never drawn together: what they recover are different policies.

    Args:
        group: Whose checkpoints count first; where none of them was evaluated, those of other fits of the same policy size
            do, of the pool that was evaluated at the most latent sizes; of grown pools only if the group's is grown.
        evaluations: Summaries of evaluations in the group's environment.
        tolerance: How far below 1 a recovery may be.
    """
    fits = {run.folder.name for run in group.runs}
    of_size = [e for e in evaluations if e.get("policy") == group.policy]
    own = [e for e in of_size if Path(e["checkpoint"]).parent.parent.name in fits]
    chosen = _once(own or _of_one_pool([e for e in of_size if is_grown(e["pool"]) == group.runs[0].grown]))
    tasks = list(dict.fromkeys(key.split("/")[0] for e in chosen for key in e if key.endswith("/recovery_best")))
    sizes = sorted({int(e["latent_dim"]) for e in chosen})
    found = []
    for task in tasks:
        means = {size: _mean([e for e in chosen if e["latent_dim"] == size], f"{task}/recovery_best") for size in sizes}
        passed = [
            min((size for size in sizes if means[size][:3][end] >= 1 - tolerance), default=math.inf) for end in range(3)
        ]
        value, by_low, by_high = passed
        at = int(value) if math.isfinite(value) else sizes[-1]
        seeds = len({e["seed"] for e in chosen if e["latent_dim"] == at})
        found.append(
            TaskDimension(
                task, value, by_high, by_low, sizes[-1], means[at].value, seeds, bool(own), chosen[0]["pool"], means[at].kind
            )
        )  # fmt: skip
    return found


def _of_one_pool(evaluations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the evaluations of the pool that has the most latent sizes; of equals, the most evaluations."""
    by_pool: dict[str, list[dict[str, Any]]] = {}
    for evaluation in evaluations:
        by_pool.setdefault(evaluation["pool"], []).append(evaluation)
    return max(by_pool.values(), key=lambda own: (len({e["latent_dim"] for e in own}), len(own)), default=[])


def _once(evaluations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one evaluation for each checkpoint, that of the most episodes."""
    found: dict[str, dict[str, Any]] = {}
    for e in sorted(evaluations, key=lambda e: e["policies"] * e["episodes"]):
        found[e["checkpoint"]] = e
    return list(found.values())


def _mean(evaluations: Sequence[dict[str, Any]], key: str) -> Estimate:
    """Return the mean over seeds of a metric with its interval or range, of a single one that over policies.

    NaN, which passes no threshold, if one is missing.
    """
    told = [read_estimate(e, key) for e in evaluations]
    if not told or None in told:
        return UNKNOWN
    if len(told) == 1:
        return told[0]  # type: ignore[return-value]
    value, low, high = np.mean([found[:3] for found in told], axis=0)  # type: ignore[index]
    return widened(mean_interval(np.array([found.value for found in told])), value, low, high)  # type: ignore[union-attr]
