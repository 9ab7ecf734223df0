"""Returns over the training of a network, as a run of compress or RL Zoo leaves them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lightning_pz.common.errors import UserError


@dataclass(frozen=True)
class TrainingCurve:
    """Mean returns at numbers of environment steps."""

    steps: list[int]
    returns: list[float]
    label: str  # what is returned


def logged_curve(folder: Path) -> TrainingCurve | None:
    """Return what Stable-Baselines3 logged in a run of compress, or None of a run without metrics.csv."""
    path = folder / "metrics.csv"
    if not path.is_file():
        return None
    with path.open(newline="") as file:
        key = "rollout/ep_rew_mean"
        rows = [(int(row["step"]), float(row[key])) for row in csv.DictReader(file) if row.get(key)]
    label = "return of training episodes, exploring\n(mean of the last 100)"
    return TrainingCurve([step for step, _ in rows], [value for _, value in rows], label) if rows else None


def evaluated_curve(path: Path, learned_in: str) -> TrainingCurve:
    """Return what Stable-Baselines3's `EvalCallback` kept in its `evaluations.npz`.

    Raises:
        UserError: A file of another kind.
    """
    try:
        with np.load(path) as file:
            steps, results = file["timesteps"], file["results"]  # (evaluations,) and (evaluations, episodes)
        means = results.mean(axis=1).tolist()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is no record of EvalCallback ({type(error).__name__}: {error}): leave `record` out of the study"
        ) from error
    label = f"return of evaluation episodes, not exploring\n(mean of {results.shape[1]}, {learned_in}, as published)"
    return TrainingCurve(steps.tolist(), means, label)
