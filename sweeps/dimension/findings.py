"""Every number of the dimension report, from groups of fits; no text, no files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightning_pz.common.statistics import percentiles
from sweeps.dimension.fit_runs import FitRun, Group
from sweeps.dimension.rules import DimensionInterval, decide_dimension, draw_fvu, first_below, marginal, mean_fvu
from sweeps.dimension.task_recovery import TaskDimension, task_dimensions
from sweeps.options import ReportOptions

CLAIMED = {"mountaincar": (1, 2), "reacher": (3, 5), "halfcheetah": (8, 16)}
"""Latent sizes that arXiv 2509.22566 names as enough for an environment; of the second kind, task recovery."""


@dataclass(frozen=True)
class Probe:
    """One estimator on one space."""

    space: str  # `behavior`, `latent` or `map`
    name: str  # of the estimator
    value: float  # mean over training seeds; NaN where it has no value
    error: float  # standard error; over seeds too where there are several
    surrogate: float  # of the Gaussian cloud with the same spectrum; NaN where there is none
    surrogate_error: float  # its standard error


@dataclass(frozen=True)
class Findings:
    """What the report says of one group."""

    group: Group  # which
    sizes: list[int]  # latent sizes
    curve: np.ndarray  # (FVU, low, high) at each
    behavior: DimensionInterval  # behavior dimension
    marginal: DimensionInterval  # by the marginal rule
    pca: dict[int, float]  # FVU of PCA on actions by number of components
    pca_floor: float  # smallest number of components with FVU at most tau, infinity if none was
    affine: int  # numbers of an affine policy: action size x (rank of observations + 1)
    affine_fvu: float  # FVU of the best affine policies
    references: str  # of which policies both are, `test` or `val`
    reachable: int | None  # twice the action size plus 1; None where no run has probes
    prior: str  # distribution of the policies, or of those from which they were grown, in words
    probes: list[Probe]  # estimates of intrinsic dimension, of the runs with most latents
    tasks: list[TaskDimension]  # task-recovery dimensions

    @property
    def note(self) -> str:
        """What stands behind linear references that are of other policies than the FVU beside them."""
        return " (val)" if self.references == "val" else ""

    def probe(self, space: str, name: str) -> Probe | None:
        """Return one estimate, or None."""
        return next((p for p in self.probes if (p.space, p.name) == (space, name)), None)


def find_dimensions(group: Group, evaluations: Sequence[dict[str, Any]], options: ReportOptions) -> Findings:
    """Return every number of a group."""
    sizes, errors, first = group.sizes, group.errors(), group.runs[0]
    values = mean_fvu(errors, first.spread)
    drawn = draw_fvu(
        errors, first.spread, joint=group.joint, draws=options.draws, seed=options.seed, climbs=first.climbs
    )
    pca = group.pca()
    largest = max(run.latent_dims[-1] for run in group.runs)
    widest = [run for run in group.runs if run.latent_dims[-1] == largest and run.probes]
    return Findings(
        group=group,
        sizes=sizes,
        curve=np.stack([values, *percentiles(drawn)], 1),
        behavior=decide_dimension(first_below(options.tau), values, drawn, sizes),
        marginal=decide_dimension(marginal(options.gain), values, drawn, sizes),
        pca=pca,
        pca_floor=min((k for k, value in pca.items() if value <= options.tau), default=math.inf),
        affine=int(first.summary["affine_numbers"]),
        affine_fvu=float(group.reference(first, "affine_fvu")),
        references=group.references,
        reachable=2 * int((widest[0].probes or {})["action_size"]) + 1 if widest else None,
        prior="grown from " * first.grown + _prior_words(first.prior),
        probes=_average_probes(widest),
        tasks=task_dimensions(group, evaluations, options.tolerance),
    )


def _average_probes(runs: Sequence[FitRun]) -> list[Probe]:
    """Return the estimates of runs that differ in the training seed alone, averaged over them.

    All see the same policies, so that only the spread between seeds shrinks with their number.
    """
    found = []
    reports = [run.probes for run in runs if run.probes is not None]
    for space in ("behavior", "latent", "map"):
        for name in reports[0][space]["estimates"] if reports else ():
            each = [report[space]["estimates"].get(name, {}) for report in reports]
            pairs = [("value", "standard_error"), ("surrogate", "surrogate_standard_error")]
            found.append(Probe(space, name, *(number for pair in pairs for number in _average(each, *pair))))
    return found


def _average(each: Sequence[Mapping[str, float | None]], key: str, error_key: str) -> tuple[float, float]:
    values, errors = (np.array([one.get(name) for one in each], dtype=float) for name in (key, error_key))  # None: NaN
    between = values.var(ddof=1) / len(values) if len(values) > 1 else 0.0
    return float(values.mean()), float(np.sqrt((errors**2).mean() + between))


def _prior_words(prior: Mapping[str, Any]) -> str:
    if not prior:
        return "unknown"
    name = str(prior.get("initializer", "?"))
    known = {"fan_in_normal": "N(0, 1/fan-in)", "standard_normal": "N(0, 1)"}
    return f"{known.get(name, name)}, gain {prior.get('gain', 1):g}, bias {prior.get('bias_scale', 1):g}"
