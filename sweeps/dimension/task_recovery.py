"""The task-recovery dimension: the smallest latent size whose latent space holds what the pool can do on a task."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightning_pz.common.files import file_digest
from lightning_pz.common.statistics import RANGE, UNKNOWN, Estimate, mean_interval, read_estimate, widened
from lightning_pz.evaluation.metrics import BEST_FRESH
from sweeps.dimension.fit_runs import Group, is_grown
from sweeps.dimension.rules import reached


@dataclass(frozen=True)
class TaskDimension:
    """The smallest latent size that recovers a task."""

    task: str  # its name
    value: float  # smallest size whose mean of `metric` over seeds is at least 1 - tolerance; infinity if none
    low: float  # the same by the upper ends of the intervals, or of the range over few seeds
    high: float  # the same by the lower ends
    largest: int  # largest latent size that was evaluated
    best: float  # that metric there or at the largest size
    metric: str  # `recovery_best_fresh`, or `recovery_best` where an evaluation of an earlier version lacks that
    seeds: int  # training seeds behind it
    own: bool  # whether the evaluations are of the study's own checkpoints
    pool: str  # name of the pool behind them
    kind: str  # what the ends are, as for `Estimate`

    def text(self) -> str:
        """Return it for a table."""
        value, low, high = (reached(size, self.largest) for size in (self.value, self.low, self.high))
        return f"{value} ({low} to {high})" if self.kind == RANGE else f"{value} [{low}, {high}]"


def read_evaluations(logs: Path, env: str) -> list[dict[str, Any]]:
    """Return the summaries of all evaluations of an environment, with what they are of.

    Added to each: `fit`, the folder name of the fit; `pool`, the name of its pool, empty if unknown; `grown`, whether
    that was grown; `pool_digest` and `checkpoint_digest`, None in evaluations of earlier versions.
    """
    found = []
    for path in sorted((logs / "evaluate" / env).glob("*/summary.json")):
        summary, identity = json.loads(path.read_text()), path.with_name("identity.json")
        content = json.loads(identity.read_text()) if identity.is_file() else {}
        fit = logs / "fit" / env / Path(summary["checkpoint"]).parent.parent.name
        about = fit / "summary.json"
        found.append(summary | {
            "fit": fit.name, "grown": is_grown(fit),
            "pool": Path(json.loads(about.read_text())["pool"]).name if about.is_file() else "",
            "pool_digest": content.get("pool"), "checkpoint_digest": content.get("checkpoint"),
        })  # fmt: skip
    return found


def task_dimensions(group: Group, evaluations: Sequence[dict[str, Any]], tolerance: float) -> list[TaskDimension]:
    """Return the task-recovery dimension of every task; empty where nothing of this policy size was evaluated.

    The checkpoints of the group count first; where none of them was evaluated, those of other fits of the same policy size
    do, of the pool that was evaluated at the most latent sizes; of grown pools only if the group's is grown. Evaluations of
    several pools are never averaged: what they recover are different policies.
    """
    of_size = [e for e in evaluations if e.get("policy") == group.policy]
    own = _own(group, of_size)
    candidates = own or _of_one_pool([e for e in of_size if e["grown"] == group.runs[0].grown])
    digests = {e["checkpoint"]: e["checkpoint_digest"] for e in candidates if e["checkpoint_digest"]}
    # One evaluation for each checkpoint, that of the most episodes.
    ordered = sorted(candidates, key=lambda e: e["policies"] * e["episodes"])
    once = {e["checkpoint_digest"] or digests.get(e["checkpoint"], e["checkpoint"]): e for e in ordered}
    chosen = list(once.values())
    tasks = list(dict.fromkeys(key.split("/")[0] for e in chosen for key in e if key.endswith("/recovery_best")))
    sizes = sorted({int(e["latent_dim"]) for e in chosen})
    found = []
    for task in tasks:
        metric = BEST_FRESH if all(f"{task}/{BEST_FRESH}" in e for e in chosen) else "recovery_best"
        means = {size: _mean([e for e in chosen if e["latent_dim"] == size], f"{task}/{metric}") for size in sizes}
        value, by_low, by_high = (
            min((size for size in sizes if means[size][end] >= 1 - tolerance), default=math.inf)  # type: ignore[operator]
            for end in range(3)
        )
        at = int(value) if math.isfinite(value) else sizes[-1]
        seeds = len({e["seed"] for e in chosen if e["latent_dim"] == at})
        best, pool = means[at], chosen[0]["pool"]
        ends = (value, by_high, by_low)
        found.append(TaskDimension(task, *ends, sizes[-1], best.value, metric, seeds, bool(own), pool, best.kind))
    return found


def _own(group: Group, evaluations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the evaluations of a group's checkpoints, known by content, or by the fit's name in earlier versions."""
    best = {run.folder.name: run.folder / "checkpoints" / "best.ckpt" for run in group.runs}
    digests = {name: file_digest(path) if path.is_file() else None for name, path in best.items()}
    return [
        e
        for e in evaluations
        if e["checkpoint_digest"] in {*digests.values()} - {None}
        or (None in (e["checkpoint_digest"], digests.get(e["fit"])) and e["fit"] in digests)
    ]


def _of_one_pool(evaluations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the evaluations of the pool that has the most latent sizes; of equals, the most evaluations."""
    digests = {e["pool"]: e["pool_digest"] for e in evaluations if e["pool_digest"]}
    by_pool: dict[str, list[dict[str, Any]]] = {}
    for e in evaluations:
        by_pool.setdefault(e["pool_digest"] or digests.get(e["pool"], e["pool"]), []).append(e)
    return max(by_pool.values(), key=lambda own: (len({e["latent_dim"] for e in own}), len(own)), default=[])


def _mean(evaluations: Sequence[dict[str, Any]], key: str) -> Estimate:
    """Return the mean over seeds of a metric with its interval or range, of a single one that over policies.

    NaN, which passes no threshold, if one is missing.
    """
    each = [found for e in evaluations if (found := read_estimate(e, key)) is not None]
    if not each or len(each) < len(evaluations):
        return UNKNOWN
    if len(each) == 1:
        return each[0]
    value, low, high = np.mean([found[:3] for found in each], axis=0)
    return widened(mean_interval(np.array([found.value for found in each])), value, low, high)
