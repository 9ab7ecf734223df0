"""What one way to make pools is worth, over seeds: rows of the `growth` study."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightning_pz.evaluation.metrics import over_seeds
from lightning_pz.evaluation.run import Evaluation

Span = tuple[float, float, float]
"""Mean over seeds, and its 95 % interval."""


@dataclass(frozen=True)
class PoolRow:
    """One way to make pools.

    Attributes:
        seeds: Seeds behind it.
        fvu: Test FVU of each seed, (seeds,).
        elsewhere_fvu: FVU of the policies in the pools of the other seeds, (seeds,); NaN where there are none.
        pca_fvu: FVU of as many principal components of the actions, (seeds,).
        collect_seconds: Wall time of making each pool.
        tasks: By task: `kept`, the share of their own return that the 50 best keep when encoded and decoded;
            `best_in_pool` and `best_latent`, the returns of the best held-out policy and of the best random latent.
    """

    seeds: int
    fvu: np.ndarray
    elsewhere_fvu: np.ndarray
    pca_fvu: np.ndarray
    collect_seconds: np.ndarray
    tasks: dict[str, dict[str, Span]]


def measure(
    summaries: Sequence[Mapping[str, Any]], elsewhere: np.ndarray, done: Sequence[Evaluation], tasks: Sequence[str]
) -> PoolRow:
    """Return the row of some fits and their evaluations, seed by seed.

    The best are measured again on fresh episodes, and their interval is that over seeds; the share kept has one over
    seeds and policies.

    Args:
        summaries: Of the fits.
        elsewhere: Of each fit, the mean FVU on the pools of the others, (seeds,).
        done: Evaluations of the same fits.
        tasks: Which tasks; all that were evaluated if empty.
    """
    found: dict[str, dict[str, Span]] = {}
    for task in tasks or list(done[0].draws):
        gaps, own = (
            np.array([e.summary[f"{task}/{m}"] for e in done], float) for m in ("reconstruction_gap", "best_own_return")
        )
        drawn = np.stack([1 + e.draws[task]["reconstruction_gap"] / e.draws[task]["best_own_return"] for e in done])
        found[task] = {"kept": over_seeds(1 + gaps / own, drawn, 0)}
        for metric in ("best_in_pool", "best_latent"):
            values = np.array([e.summary[f"{task}/{metric}_fresh"] for e in done], float)
            found[task][metric] = over_seeds(values, np.repeat(values[:, None], 1000, axis=1), 0)
    numbers = {key: np.array([s[key] for s in summaries], float) for key in ("test_fvu", "pca_fvu", "collect_seconds")}
    return PoolRow(len(done), numbers["test_fvu"], elsewhere, numbers["pca_fvu"], numbers["collect_seconds"], found)


def as_text(rows: Mapping[str, PoolRow], *, short: bool = False) -> list[list[str]]:
    """Return a row per way and task, a header first.

    Args:
        rows: By the name of the way.
        short: Leave out what a terminal has no room for.
    """
    fvus = ["test FVU", "elsewhere", *([] if short else ["PCA"])]
    lines = [["pool", "seeds", *fvus, "task", "best in pool", "best latent", "kept by 50 best"]]
    for name, row in rows.items():
        told = [_range(row.fvu), _range(row.elsewhere_fvu), f"{row.pca_fvu.mean():.3f}"]
        first = [name, str(row.seeds), *([text.split(" ")[0] for text in told[:2]] if short else told)]
        for place, (task, values) in enumerate(row.tasks.items()):
            kept = _span(tuple(100 * x for x in values["kept"]), " %")  # type: ignore[arg-type]
            own = first if place == 0 else [""] * len(first)
            lines.append([*own, task, _span(values["best_in_pool"]), _span(values["best_latent"]), kept])
    return lines


def as_csv(rows: Mapping[str, PoolRow]) -> str:
    """Return every number, a row per way and task."""
    metrics = ("kept", "best_in_pool", "best_latent")
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    header = ["pool", "seeds", "task", "test_fvu", "test_fvu_lowest", "test_fvu_highest"]
    header += ["elsewhere_fvu", "elsewhere_fvu_lowest", "elsewhere_fvu_highest", "pca_fvu", "collect_seconds"]
    writer.writerow([*header, *(f"{metric}{end}" for metric in metrics for end in ("", "_low", "_high"))])
    for name, row in rows.items():
        for task, values in row.tasks.items():
            fit = [f(values) for values in (row.fvu, row.elsewhere_fvu) for f in (np.mean, np.min, np.max)]
            fit += [row.pca_fvu.mean(), row.collect_seconds.mean()]
            writer.writerow([name, row.seeds, task, *fit, *(x for metric in metrics for x in values[metric])])
    return file.getvalue()


def _range(values: np.ndarray) -> str:
    if np.isnan(values).any():
        return "none"
    return f"{values.mean():.3f}" + (f" ({values.min():.3f} to {values.max():.3f})" if len(values) > 1 else "")


def _span(values: Span, unit: str = "") -> str:
    mean, low, high = values
    if not np.isfinite(mean):
        return "none"
    digits = 1 if max(map(abs, values)) < 100 else 0
    return f"{mean:,.{digits}f} [{low:,.{digits}f}, {high:,.{digits}f}]{unit}"
