"""What one way to make pools is worth, over seeds: rows of the `growth` study."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightning_pz.common.statistics import FEWEST, UNKNOWN, Estimate, mean_interval, share
from lightning_pz.evaluation.run import Evaluation

METRICS = ("kept", "reconstruction_gap", "best_own_return", "best_in_pool", "best_latent")
ENDS = f"mean over seeds [95 % interval], or below {FEWEST} seeds (lowest to highest), their range"
"""What stands behind the numbers of the table."""


@dataclass(frozen=True)
class PoolRow:
    """One way to make pools.

    Attributes:
        seeds: Seeds behind it.
        fvu: Test FVU of each seed, (seeds,).
        elsewhere_fvu: FVU of the policies in the pools of the other seeds, (seeds,); NaN where there are none.
        pca_fvu: FVU of as many principal components of the actions, (seeds,).
        collect_seconds: Wall time of making each pool.
        tasks: By task: `reconstruction_gap`, what the 50 best gain or lose when encoded and decoded, and
            `best_own_return`, what they earn themselves, in units of return; `kept`, the share of it that they keep, NaN
            where they do not clearly earn more than 0, for a share of a loss reads the wrong way round; `best_in_pool`
            and `best_latent`, the returns of the best held-out policy and of the best random latent.
    """

    seeds: int
    fvu: np.ndarray
    elsewhere_fvu: np.ndarray
    pca_fvu: np.ndarray
    collect_seconds: np.ndarray
    tasks: dict[str, dict[str, Estimate]]


def measure(
    summaries: Sequence[Mapping[str, Any]], elsewhere: np.ndarray, done: Sequence[Evaluation], tasks: Sequence[str]
) -> PoolRow:
    """Return the row of some fits and their evaluations, seed by seed.

    Each seed has a pool of its own, so that all intervals are those over seeds. The best are measured on fresh episodes.

    Args:
        summaries: Of the fits.
        elsewhere: Of each fit, the mean FVU on the pools of the others, (seeds,).
        done: Evaluations of the same fits.
        tasks: Which tasks; all that were evaluated if empty.
    """
    found: dict[str, dict[str, Estimate]] = {}
    for task in tasks or list(done[0].draws):
        values = {
            metric: np.array([e.summary[f"{task}/{key}"] for e in done], float)
            for metric, key in zip(METRICS[1:], (*METRICS[1:3], *(f"{m}_fresh" for m in METRICS[3:])), strict=True)
        }
        own = values["best_own_return"]
        kept = share(own + values["reconstruction_gap"], own) or UNKNOWN
        found[task] = {"kept": kept} | {metric: mean_interval(each) for metric, each in values.items()}
    numbers = {key: np.array([s[key] for s in summaries], float) for key in ("test_fvu", "pca_fvu", "collect_seconds")}
    return PoolRow(len(done), numbers["test_fvu"], elsewhere, numbers["pca_fvu"], numbers["collect_seconds"], found)


def as_text(rows: Mapping[str, PoolRow], *, short: bool = False) -> list[list[str]]:
    """Return a row per way and task, a header first.

    Args:
        rows: By the name of the way.
        short: Leave out what a terminal has no room for, such as the ends of the best.
    """
    fvus = ["test FVU", "elsewhere", *([] if short else ["PCA"])]
    lines = [["pool", "seeds", *fvus, "task", "best in pool", "best latent", "kept by 50 best, or gap"]]
    for name, row in rows.items():
        told = [_range(row.fvu), _range(row.elsewhere_fvu), f"{row.pca_fvu.mean():.3f}"]
        first = [name, str(row.seeds), *([text.split(" ")[0] for text in told[:2]] if short else told)]
        for place, (task, values) in enumerate(row.tasks.items()):
            own = first if place == 0 else [""] * len(first)
            lines.append(
                [*own, task, *(_span(_alone(values[m]) if short else values[m]) for m in METRICS[3:]), _kept(values)]
            )
    return lines


def as_csv(rows: Mapping[str, PoolRow]) -> str:
    """Return every number, a row per way and task."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    header = ["pool", "seeds", "task", "test_fvu", "test_fvu_lowest", "test_fvu_highest"]
    header += ["elsewhere_fvu", "elsewhere_fvu_lowest", "elsewhere_fvu_highest", "pca_fvu", "collect_seconds"]
    writer.writerow([*header, *(f"{metric}{end}" for metric in METRICS for end in ("", "_low", "_high", "_interval"))])
    for name, row in rows.items():
        for task, values in row.tasks.items():
            fit = [f(values) for values in (row.fvu, row.elsewhere_fvu) for f in (np.mean, np.min, np.max)]
            fit += [row.pca_fvu.mean(), row.collect_seconds.mean()]
            writer.writerow([name, row.seeds, task, *fit, *(_finite(x) for metric in METRICS for x in values[metric])])
    return file.getvalue()


def _range(values: np.ndarray) -> str:
    if np.isnan(values).any():
        return "none"
    return f"{values.mean():.3f}" + (f" ({values.min():.3f} to {values.max():.3f})" if len(values) > 1 else "")


def _kept(values: Mapping[str, Estimate]) -> str:
    """Return the share of their return that the best keep, or, where a share means nothing, what they gain or lose."""
    if math.isfinite(values["kept"].value):
        return _span(values["kept"].scaled(100.0), " %")
    return f"{_span(values['reconstruction_gap'], sign='+')} of {_span(_alone(values['best_own_return']))}"


def _alone(found: Estimate) -> Estimate:
    return UNKNOWN._replace(value=found.value)


def _span(found: Estimate, unit: str = "", sign: str = "") -> str:
    if not math.isfinite(found.value):
        return "none"
    digits = 1 if max(abs(x) for x in found[:3] if math.isfinite(x)) < 100 else 0
    form = f"{sign},.{digits}f"
    return f"{found.value:{form}}{unit}{found.ends(form)}"


def _finite(value: float | str) -> float | str:
    return value if isinstance(value, str) or math.isfinite(value) else ""
