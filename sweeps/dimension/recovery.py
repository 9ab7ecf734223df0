"""The task-recovery dimension: the smallest latent size whose latent space holds what the pool can do on a task."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.dimension.runs import Group


@dataclass(frozen=True)
class TaskDimension:
    """The smallest latent size that recovers a task.

    Attributes:
        task: Its name.
        value: Smallest size whose mean `recovery_best` over seeds is at least 1 - tolerance; infinity if none.
        low: The same by the upper ends of the intervals.
        high: The same by the lower ends.
        largest: Largest latent size that was evaluated.
        best: `recovery_best` there or at the largest size.
        seeds: Training seeds behind it.
        own: Whether the evaluations are of the study's own checkpoints.
    """

    task: str
    value: float
    low: float
    high: float
    largest: int
    best: float
    seeds: int
    own: bool

    def text(self) -> str:
        """Return it for a table."""
        one = [f"{v:.0f}" if math.isfinite(v) else f"> {self.largest}" for v in (self.value, self.low, self.high)]
        return f"{one[0]} [{one[1]}, {one[2]}]"


def read_evaluations(logs: Path, env: str) -> list[dict[str, Any]]:
    """Return the summaries of all evaluations of an environment."""
    return [json.loads(path.read_text()) for path in sorted((logs / "evaluate" / env).glob("*/summary.json"))]


def task_dimensions(group: Group, evaluations: Sequence[dict[str, Any]], tolerance: float) -> list[TaskDimension]:
    """Return the task-recovery dimension of every task; empty where nothing of this policy size was evaluated.

    Args:
        group: Whose checkpoints count first; where none of them was evaluated, those of any fit of the same policy size do.
        evaluations: Summaries of evaluations in the group's environment.
        tolerance: How far below 1 a recovery may be.
    """
    fits = {run.folder.name for run in group.runs}
    of_size = [e for e in evaluations if e.get("policy") == group.policy]
    own = [e for e in of_size if Path(e["checkpoint"]).parent.parent.name in fits]
    chosen = own or of_size
    tasks = list(dict.fromkeys(key.split("/")[0] for e in chosen for key in e if key.endswith("/recovery_best")))
    sizes = sorted({int(e["latent_dim"]) for e in chosen})
    found = []
    for task in tasks:
        means = {size: _mean([e for e in chosen if e["latent_dim"] == size], f"{task}/recovery_best") for size in sizes}
        passed = [
            min((size for size in sizes if means[size][end] >= 1 - tolerance), default=math.inf) for end in range(3)
        ]
        value, by_low, by_high = passed
        at = int(value) if math.isfinite(value) else sizes[-1]
        seeds = len({e["seed"] for e in chosen if e["latent_dim"] == at})
        found.append(TaskDimension(task, value, by_high, by_low, sizes[-1], means[at][0], seeds, bool(own)))
    return found


def _mean(evaluations: Sequence[dict[str, Any]], key: str) -> tuple[float, float, float]:
    """Return the means over seeds of a metric, its lower and its upper end; NaN, which passes no threshold, if one is missing."""
    columns = [[e.get(f"{key}{end}") for e in evaluations] for end in ("", "_low", "_high")]
    mean, low, high = (
        math.nan if not column or None in column else sum(column) / len(column)  # type: ignore[arg-type]
        for column in columns
    )
    return mean, low, high
