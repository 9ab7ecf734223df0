"""A study's trials as `trials.csv` and `trials.md`, written anew after each of them."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from lightning_pz.common.files import write_text
from sweeps.optuna_study.plan import Plan
from sweeps.optuna_study.space import from_params

FIRST = ("number", "state", "value", "seed", "run", "policy")
LAST = ("val_fvu", "test_fvu", "train_fvu", "pca_fvu", "steps", "fit_seconds", "cpu_seconds", "checkpoint", "config", "returns", "reason")  # fmt: skip
_SHOWN = ("number", "state", "value", "seed", "policy", "run")


def columns(plan: Plan) -> list[str]:
    """Return the columns of trials.csv: what every study has, the searched keys, and what was measured."""
    return [*FIRST, *plan.search, *LAST]


def rows(plan: Plan, trials: Sequence[FrozenTrial]) -> list[dict[str, Any]]:
    """Return a row a trial; what is not known of it yet stays empty."""
    found = []
    for trial in trials:
        params = trial.params or trial.system_attrs.get("fixed_params", {})
        try:
            point = from_params(plan, params)
        except KeyError:  # it has not chosen all of its settings yet
            point = {}
        value = trial.value if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) else None
        row = {"number": trial.number, "state": trial.state.name, "value": value, "seed": point.get("seed_everything")}
        row |= {key: point.get(key) for key in ("policy", *plan.search)}
        found.append(row | {key: trial.user_attrs.get(key) for key in ("run", *LAST)})
    return found


def write(plan: Plan, trials: Sequence[FrozenTrial], folder: Path) -> None:
    """Write both tables; the caller sees to it that no other process does so now."""
    found, names = rows(plan, trials), columns(plan)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    write_text(folder / "trials.csv", text.getvalue())
    shown = [*_SHOWN[:-1], *plan.search, "val_fvu", "test_fvu", "pca_fvu", "run"]
    lines = markdown([[_cell(row[key]) for key in shown] for row in found], shown)
    by_point = grouped(plan, trials)
    if any(len(values) > 1 for _, values in by_point):
        header = ["policy", *plan.search, "trials", "mean", "SD"]
        lines += ["", *markdown([[*map(_cell, point), *spread(values)] for point, values in by_point], header)]
    write_text(folder / "trials.md", "\n".join(lines) + "\n")


def grouped(plan: Plan, trials: Sequence[FrozenTrial]) -> list[tuple[tuple[Any, ...], list[float]]]:
    """Return the values of complete trials that differ in nothing but the seed, by policy and searched settings."""
    found: dict[str, tuple[tuple[Any, ...], list[float]]] = {}
    for row, trial in zip(rows(plan, trials), trials, strict=True):
        if trial.state is TrialState.COMPLETE and trial.value is not None:
            point = tuple(row[key] for key in ("policy", *plan.search))
            found.setdefault(repr(point), (point, []))[1].append(trial.value)
    return list(found.values())


def spread(values: Sequence[float]) -> list[str]:
    """Return count, mean and standard deviation as text."""
    deviation = f"{statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return [str(len(values)), f"{statistics.mean(values):.4f}", deviation]


def markdown(lines: Sequence[Sequence[str]], header: Sequence[str]) -> list[str]:
    """Return the lines of a Markdown table."""
    return [f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *lines)]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
