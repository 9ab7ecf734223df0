"""A study's trials as `trials.csv` and `trials.md`, written anew after each of them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from lightning_pz.common.files import write_text
from lightning_pz.common.tables import Table
from sweeps.optuna_study.plan import Plan
from sweeps.optuna_study.space import from_params

FIRST = ("number", "state", "value", "seed", "run", "policy")
LAST = ("val_fvu", "test_fvu", "train_fvu", "pca_fvu", "steps", "fit_seconds", "cpu_seconds", "checkpoint", "config", "returns", "reason")  # fmt: skip


def trials_table(plan: Plan, trials: Sequence[FrozenTrial]) -> Table:
    """Return a row a trial: what every study has, the searched settings, and what was measured."""
    names = (*FIRST, *plan.search, *LAST)
    return Table(names, [[row.get(name) for name in names] for row in _rows(plan, trials)])


def points_table(plan: Plan, trials: Sequence[FrozenTrial], most: int | None = None) -> Table:
    """Return a row for complete trials that differ in the seed alone: count, mean and standard deviation of their values.

    Args:
        plan: Of the study.
        trials: Its trials.
        most: Only so many rows, the best ones first; all in the order of the trials if None.
    """
    found: dict[str, tuple[list[Any], list[float]]] = {}
    for row, trial in zip(_rows(plan, trials), trials, strict=True):
        if trial.state is TrialState.COMPLETE and trial.value is not None:
            point = [row[key] for key in ("policy", *plan.search)]
            found.setdefault(repr(point), (point, []))[1].append(trial.value)
    points = list(found.values())
    if most is not None:
        points = sorted(points, key=lambda item: item[1], reverse=plan.direction == "maximize")[:most]
    rows = [
        [*point, len(values), statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None]
        for point, values in points
    ]
    return Table(["policy", *plan.search, "trials", "mean", "SD"], rows, {"mean": ".4f", "SD": ".4f"})


def write_trials(plan: Plan, trials: Sequence[FrozenTrial], folder: Path) -> None:
    """Write both files; the caller sees to it that no other process does so now."""
    table, points = trials_table(plan, trials), points_table(plan, trials)
    write_text(folder / "trials.csv", table.csv())
    shown = table.only(
        ["number", "state", "value", "seed", "policy", *plan.search, "val_fvu", "test_fvu", "pca_fvu", "run"]
    )
    several = any(trials > 1 for *_, trials, _, _ in points.rows)
    write_text(folder / "trials.md", shown.markdown() + ("\n" + points.markdown() if several else ""))


def _rows(plan: Plan, trials: Sequence[FrozenTrial]) -> list[dict[str, Any]]:
    """Return what is known of each trial."""
    found = []
    for trial in trials:
        try:
            point = from_params(plan, trial.params or trial.system_attrs.get("fixed_params", {}))
        except KeyError:  # it has not chosen all of its settings yet
            point = {}
        value = trial.value if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) else None
        row = {"number": trial.number, "state": trial.state.name, "value": value, "seed": point.get("seed_everything")}
        row |= {key: point.get(key) for key in ("policy", *plan.search)}
        found.append(row | {key: trial.user_attrs.get(key) for key in ("run", *LAST)})
    return found
