"""Reports a growth: coverage, effective dimension and return ceilings over steps, and where outcomes lie."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lightning_pz.common.plotting import legend, look, panels, save_figure, single
from lightning_pz.common.tracking.tracker import Tracker
from lightning_pz.growth.directions import random_directions
from lightning_pz.growth.outcomes import Outcomes, effective_dimension, fit_whitening
from lightning_pz.growth.rounds import Growth

LOGGED = "events"
"""Folder in that of an unfinished growth for what its loggers write."""
_RAYS = 256


def coverage(outcomes: Outcomes, first: Float[np.ndarray, "first_policies outcome"], scales: np.ndarray) -> float:
    """Return how far a pool reaches: the mean over 256 fixed directions of its largest projection.

    In standard deviations of the first, random policies, along uniform directions of their whitened outcome space.
    Of n Gaussian points it is the expected maximum of n normal numbers: 3.2 for a thousand.
    """
    frame = fit_whitening(first, scales)
    rays = random_directions(_RAYS, len(frame.kept), np.random.default_rng(0))
    return float((frame(outcomes) @ rays.T).max(0).mean())


def history_row(growth: Growth, tasks: list[str], scales: np.ndarray) -> dict[str, Any]:
    """Return one row of the history, flat: steps, policies, coverage, effective dimension, ceiling of each task."""
    archive = growth.archive
    row = {
        "round": growth.rounds,
        "steps": growth.steps,
        "played": growth.played,
        "kept": len(archive),
        "coverage": coverage(archive.outcomes, growth.first, scales),
        "effective_dimension": effective_dimension(archive.outcomes, scales),
    }
    best = np.nan_to_num(archive.returns, nan=-np.inf).max(0) if len(tasks) else []
    return row | {f"ceiling/{task}": float(value) for task, value in zip(tasks, best, strict=True)}


def log_round(tracker: Tracker, growth: Growth, row: dict[str, Any], scales: np.ndarray) -> None:
    """Log a round; all of it is written when this returns, for the round is saved next."""
    steps = row["steps"]
    tracker.log({name: value for name, value in row.items() if name not in ("round", "steps")}, steps)
    tracker.figure("outcomes", outcome_scatter(growth, scales), steps)
    tracker.flush()


def write_figures(
    working: Path, pool: Path, growth: Growth, history: list[dict[str, Any]], env_id: str, scales: np.ndarray
) -> None:
    """Copy what was logged to the folder of the finished pool and draw its figures."""
    events = set((working / LOGGED).glob("events.*"))
    for path in set((working / LOGGED).iterdir()) - events:
        if path.is_dir():
            shutil.copytree(path, pool / path.name, symlinks=True)
        else:
            shutil.copy2(path, pool / path.name)
    # TensorBoard reads files in the order of their names, which end in second, process and an unpadded count.
    for place, path in enumerate(sorted(events, key=lambda path: [*map(int, re.findall(r"\d+", path.name))])):
        shutil.copy2(path, pool / f"events.out.tfevents.{place:06d}.growth")
    save_figure(outcome_scatter(growth, scales), pool / "figures" / "outcomes")
    save_figure(growth_curves(history, env_id), pool / "figures" / "growth")


def outcome_scatter(growth: Growth, scales: np.ndarray, most: int = 8000) -> Figure:
    """Draw outcomes along their two principal axes, colored by the round in which they were found."""
    archive = growth.archive
    points = fit_whitening(growth.first, scales)(archive.outcomes)
    centered = points - points.mean(0)
    principal = np.linalg.eigh(centered.T @ centered)[1][:, ::-1][:, :2]
    if principal.shape[1] == 1:
        principal = np.concatenate([principal, np.zeros_like(principal)], axis=1)
    # Signs of eigenvectors are arbitrary: the largest entry is made positive, so that frames of a film agree.
    principal = principal * np.sign(principal[np.abs(principal).argmax(0), [0, 1]] + 1e-300)
    flat = centered @ principal
    figure, axes = single(width=5.2, height=4.0)
    # Drawn in random order, so that no round hides another.
    shown = np.random.default_rng(0).permutation(len(flat))[:most]
    x, y = flat[shown].T
    dots = axes.scatter(x, y, c=archive.rounds[shown], s=5, cmap="viridis", linewidths=0, vmin=0)
    axes.set(
        xlabel="first principal outcome (sd of random policies)", ylabel="second principal outcome",
        title=f"{len(archive):,} kept policies after {growth.steps / 1e6:.1f} M steps",
    )  # fmt: skip
    figure.colorbar(dots, ax=axes, label="round (0: random policies)", ticks=MaxNLocator(integer=True))
    return figure


def growth_curves(history: list[dict[str, Any]], title: str) -> Figure:
    """Draw coverage with effective dimension, and the best return in the pool of each task, against steps."""
    steps = [row["steps"] / 1e6 for row in history]
    tasks = [name for name in history[0] if name.startswith("ceiling/")]
    figure, ((left, right),) = panels(1, 2, width=9.0)
    for axes, names in ((left, ["coverage", "effective_dimension"]), (right, tasks)):
        for place, name in enumerate(names):
            color, line, marker = look(place)
            label = name.removeprefix("ceiling/") if axes is right else name.replace("_", " ")
            style = {"color": color, "linestyle": line, "marker": None if axes is right else marker, "markersize": 3}
            axes.plot(steps, [row[name] for row in history], label=label, **style)
        axes.set(xlabel="environment steps (M)")
    left.set(ylim=(0, None), ylabel="sd of random policies; dimensions", title=title)
    right.set(ylabel="return of one growth episode", title="best in the pool (report only)")
    for axes in (left, right) if tasks else (left,):
        legend(axes)
    return figure
