"""Writes a study's trials as `trials.csv` and `trials.md`, anew after each of them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from lightning_pz.common.files import write_text
from lightning_pz.common.tables import Table
from sweeps.optuna_study.plan import StudyPlan
from sweeps.optuna_study.space import from_params

_MEASURED = ("val_fvu", "test_fvu", "train_fvu", "pca_fvu", "steps", "fit_seconds", "cpu_seconds", "checkpoint", "config", "returns", "reason")  # fmt: skip


def trial_rows(plan: StudyPlan, trials: Sequence[FrozenTrial]) -> list[dict[str, Any]]:
    """Return a row a trial, by column of trials.csv; what is not known of it yet is None."""
    found = []
    for trial in trials:
        try:
            point = from_params(plan, trial.params or trial.system_attrs.get("fixed_params", {}))
        except KeyError:  # it has not chosen all of its settings yet
            point = {}
        value = trial.value if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) else None
        row = {"number": trial.number, "state": trial.state.name, "value": value, "seed": point.get("seed_everything")}
        row |= {"run": trial.user_attrs.get("run")} | {key: point.get(key) for key in ("policy", *plan.search)}
        found.append(row | {key: trial.user_attrs.get(key) for key in _MEASURED})
    return found


def write_trials(plan: StudyPlan, trials: Sequence[FrozenTrial], folder: Path) -> None:
    """Write both tables; the caller keeps other processes from it."""
    columns = ["number", "state", "value", "seed", "run", "policy", *plan.search, *_MEASURED]
    table = Table(columns, [list(row.values()) for row in trial_rows(plan, trials)])
    write_text(folder / "trials.csv", table.csv())
    shown = ["number", "state", "value", "seed", "policy", *plan.search, "val_fvu", "test_fvu", "pca_fvu", "run"]
    means = by_settings(plan, trials)
    more = "\n" + means.markdown() if any(row[-1] is not None for row in means.rows) else ""
    write_text(folder / "trials.md", table.only(shown).markdown() + more)


def by_settings(plan: StudyPlan, trials: Sequence[FrozenTrial]) -> Table:
    """Return mean and standard deviation of complete trials that differ in nothing but the seed."""
    found: dict[str, tuple[list[Any], list[float]]] = {}
    for row in trial_rows(plan, trials):
        if row["state"] == TrialState.COMPLETE.name:
            point = [row[key] for key in ("policy", *plan.search)]
            found.setdefault(repr(point), (point, []))[1].append(row["value"])
    rows = [
        [*point, len(values), statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None]
        for point, values in found.values()
    ]
    return Table(["policy", *plan.search, "trials", "mean", "SD"], rows, {"mean": ".4f", "SD": ".4f"})
