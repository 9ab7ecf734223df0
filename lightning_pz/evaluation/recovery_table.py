"""Means of several checkpoints over training seeds, and the table of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightning_pz.common.errors import UserError
from lightning_pz.common.statistics import FEWEST, UNKNOWN, Estimate, mean_interval, read_estimate, widened
from lightning_pz.common.tables import Table
from lightning_pz.evaluation.metrics import BEST_FRESH, METRIC_LABELS, RECOVERY_METRICS, over_seeds
from lightning_pz.evaluation.run import Evaluation

RECOVERY_ENDS = f"[95 % interval] over seeds and policies, fresh over seeds and episodes; below {FEWEST} seeds (lowest to highest), their range; of one seed neither"
"""What the brackets in the table are."""
_SHOWN = ("recovery_best", BEST_FRESH, "reconstruction_gap", "best_in_pool", "best_latent")
_SIZES = {"small": 0, "medium": 1, "large": 2}


@dataclass(frozen=True)
class Recovery:
    """Metrics of one policy size and latent size on one task, over training seeds."""

    policy: str  # name of the policy preset
    latent_dim: int  # k
    task: str  # name of the task
    seeds: tuple[int, ...]  # training seeds behind it
    # mean over seeds with its interval or range, by metric; NaN where a ratio has no range to compare with
    values: dict[str, Estimate]


def average_recovery(evaluations: Sequence[Evaluation]) -> list[Recovery]:
    """Combine evaluations that differ in the training seed alone, task by task in the order of the tasks.

    Raises `UserError` for two with the same seed, or with other encoders, which are no sample of seeds.
    """

    def key(evaluation: Evaluation) -> tuple[int, str, int, int]:
        s = evaluation.summary
        return _SIZES.get(s["policy"], len(_SIZES)), s["policy"], s["latent_dim"], s["seed"]

    found = []
    for (_, policy, k), group in itertools.groupby(sorted(evaluations, key=key), lambda e: key(e)[:3]):
        members = list(group)
        for one, other in itertools.pairwise(members):
            seeds, encoders = ([e.summary[name] for e in (one, other)] for name in ("seed", "encoder"))
            if seeds[0] == seeds[1] or encoders[0] != encoders[1]:
                told = f"seed {seeds[0]} both" if seeds[0] == seeds[1] else f"encoders {' and '.join(encoders)}"
                raise UserError(
                    f"checkpoints of {policy} policies with k = {k} are averaged over training seeds, but "
                    f"{one.summary['checkpoint']} and {other.summary['checkpoint']} have {told}: evaluate them one by one"
                )
        for task in members[0].draws:
            values = {}
            for metric in RECOVERY_METRICS:
                means = np.array([member.summary[f"{task}/{metric}"] for member in members], dtype=float)  # None: NaN
                values[metric] = over_seeds(means, np.stack([m.draws[task][metric] for m in members]))
            values[BEST_FRESH] = _fresh([member.summary for member in members], task)
            found.append(Recovery(policy, k, task, tuple(m.summary["seed"] for m in members), values))
    tasks = list(evaluations[0].draws)
    return sorted(found, key=lambda one: tasks.index(one.task))


def _fresh(summaries: Sequence[Mapping[str, Any]], task: str) -> Estimate:
    """Return the mean of `recovery_best_fresh` over seeds, NaN if one lacks it; its interval is over episodes as well."""
    each = [read_estimate(summary, f"{task}/{BEST_FRESH}") or UNKNOWN for summary in summaries]
    value, low, high = np.mean([one[:3] for one in each], axis=0)
    return widened(mean_interval(np.array([one.value for one in each])), float(value), float(low), float(high))


def recovery_table(found: Sequence[Recovery]) -> Table:
    """Return every metric."""
    metrics = (*RECOVERY_METRICS, BEST_FRESH)
    rows = [[r.task, r.policy, r.latent_dim, len(r.seeds), *map(r.values.get, metrics)] for r in found]
    return Table(["task", "policy", "latent_dim", "seeds", *metrics], rows)


def short_recovery_table(found: Sequence[Recovery], published: Mapping[str, Mapping] | None = None) -> Table:
    """Return a few metrics, and the recovery that a paper reports (by task, policy and latent size), for a terminal.

    That of fresh episodes is left out where no row has it, as of evaluations by an earlier version.
    """
    has_fresh = any(math.isfinite(r.values.get(BEST_FRESH, UNKNOWN).value) for r in found)
    metrics = [name for name in _SHOWN if name != BEST_FRESH or has_fresh]
    theirs = [(published or {}).get(r.task, {}).get(r.policy, {}).get(r.latent_dim) for r in found]
    ours = [[r.task, r.policy, r.latent_dim, len(r.seeds), *map(r.values.get, metrics)] for r in found]
    rows = [[*row, number] for row, number in zip(ours, theirs, strict=True)] if published else ours
    shown = [METRIC_LABELS[metric] for metric in metrics]
    header = ["task", "policy", "k", "seeds", *shown, *(["published"] if published else [])]
    return Table(header, rows, {"published": ".2f"})
