"""What one way to make pools is worth, over seeds: rows and tables of the `growth` study."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightning_pz.common.statistics import FEWEST, RANGE, UNKNOWN, Estimate, mean_interval, share
from lightning_pz.common.tables import Table, estimate_text
from lightning_pz.evaluation.run import Evaluation

_TASK_METRICS = ("kept", "reconstruction_gap", "best_own_return", "best_in_pool", "best_latent")
_FVUS = ("test FVU", "elsewhere", "PCA")
POOL_ENDS = f"mean over seeds [95 % interval], or below {FEWEST} seeds (lowest to highest), their range"
"""What the brackets in the tables are."""


@dataclass(frozen=True)
class PoolRow:
    """One way to make pools."""

    seeds: int  # behind it
    fvu: np.ndarray  # test FVU of each seed, (seeds,)
    elsewhere_fvu: np.ndarray  # of the policies in the pools of the other seeds, (seeds,); NaN where there are none
    pca_fvu: np.ndarray  # of as many principal components of the actions, (seeds,)
    pca_policies: str  # of which policies that is: `test`, as the rest, or `val` of fits by an earlier version
    collect_seconds: np.ndarray  # wall time of making each pool, (seeds,)
    # By task: `reconstruction_gap`, what the 50 best gain or lose when encoded and decoded, and `best_own_return`, what they
    # earn themselves, in units of return; `kept`, the share of it that they keep, NaN where they do not clearly earn more
    # than 0, for a share of a loss reads the wrong way round; `best_in_pool` and `best_latent`, the returns of the best
    # held-out policy and of the best random latent.
    tasks: dict[str, dict[str, Estimate]]


def pool_row(
    summaries: Sequence[Mapping[str, Any]], elsewhere: np.ndarray, done: Sequence[Evaluation], tasks: Sequence[str]
) -> PoolRow:
    """Return the row of some fits and their evaluations, seed by seed.

    Each seed has a pool of its own, so that all intervals are those over seeds. The best are measured on fresh episodes.

    Args:
        elsewhere: For each fit, the mean FVU on the pools of the others, (seeds,).
        done: Evaluations of the same fits.
        tasks: All that were evaluated if empty.
    """
    found: dict[str, dict[str, Estimate]] = {}
    for task in tasks or list(done[0].draws):
        keys = {name: name if name in _TASK_METRICS[:3] else f"{name}_fresh" for name in _TASK_METRICS[1:]}
        values = {name: np.array([e.summary[f"{task}/{key}"] for e in done], float) for name, key in keys.items()}
        own = values["best_own_return"]
        kept = share(own + values["reconstruction_gap"], own) or UNKNOWN
        found[task] = {"kept": kept} | {name: mean_interval(each) for name, each in values.items()}
    policies = "test" if all("test_pca_fvu" in s for s in summaries) else "val"
    measured = ("test_fvu", "test_pca_fvu" if policies == "test" else "pca_fvu", "collect_seconds")
    fvu, pca, seconds = (np.array([s[key] for s in summaries], float) for key in measured)
    return PoolRow(len(done), fvu, elsewhere, pca, policies, seconds, found)


def pool_table(rows: Mapping[str, PoolRow]) -> Table:
    """Return a row per way and task, rounded for readers."""
    lines = []
    for name, row in rows.items():
        first = [name, row.seeds, _spread(row.fvu), _spread(row.elsewhere_fvu)]
        pca = float(row.pca_fvu.mean())
        first.append(pca if row.pca_policies == "test" else f"{pca:.3f} (val)")
        for task, values in row.tasks.items():
            lines.append([*first, task, values["best_in_pool"], values["best_latent"], _kept(values)])
            first = [None] * len(first)
    header = ["pool", "seeds", *_FVUS, "task", "best in pool", "best latent", "kept by 50 best, or gap"]
    return Table(header, lines, dict.fromkeys(_FVUS, ".3f"))


def short_pool_table(rows: Mapping[str, PoolRow]) -> Table:
    """Return the table for a terminal, without PCA and the ends of most numbers."""
    table = pool_table(rows)
    lines = [[_alone(cell) if isinstance(cell, Estimate) else cell for cell in line] for line in table.rows]
    return Table(table.header, lines, table.formats).only([name for name in table.header if name != "PCA"])


def pool_numbers(rows: Mapping[str, PoolRow]) -> Table:
    """Return every number, a row per way and task."""
    header = ["pool", "seeds", "task", "test_fvu", "test_fvu_lowest", "test_fvu_highest"]
    header += [
        "elsewhere_fvu",
        "elsewhere_fvu_lowest",
        "elsewhere_fvu_highest",
        "pca_fvu",
        "pca_policies",
        "collect_seconds",
    ]
    lines = []
    for name, row in rows.items():
        fit = [f(values) for values in (row.fvu, row.elsewhere_fvu) for f in (np.mean, np.min, np.max)]
        fit += [row.pca_fvu.mean(), row.pca_policies, row.collect_seconds.mean()]
        lines += [[name, row.seeds, task, *fit, *(v[m] for m in _TASK_METRICS)] for task, v in row.tasks.items()]
    return Table([*header, *_TASK_METRICS], lines)


def _spread(values: np.ndarray) -> Estimate:
    mean = float(values.mean())
    return Estimate(mean, values.min(), values.max(), RANGE) if len(values) > 1 else UNKNOWN._replace(value=mean)


def _kept(values: Mapping[str, Estimate]) -> str:
    """Return the share of their return that the best keep, or, where a share means nothing, what they gain or lose."""
    if math.isfinite(values["kept"].value):
        return estimate_text(values["kept"].scaled(100.0), ",.1f", " %")
    gap, own = values["reconstruction_gap"], _alone(values["best_own_return"])
    return f"{estimate_text(gap, '+,.1f')} of {estimate_text(own, ',.1f')}"


def _alone(found: Estimate) -> Estimate:
    return UNKNOWN._replace(value=found.value)
