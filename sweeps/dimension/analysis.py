"""Every number of the report, from groups of runs; no text, no files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml

from lightning_pz.common.statistics import percentiles
from sweeps.dimension.recovery import TaskDimension, task_dimensions
from sweeps.dimension.rules import Interval, dimension, draw_fvu, first_below, fvu, marginal
from sweeps.dimension.runs import Group, Run, runs_with_probes

CLAIMED = {"mountaincar": (1, 2), "reacher": (3, 5), "halfcheetah": (8, 16)}
"""Latent sizes that arXiv 2509.22566 names as enough for an environment; of the second kind, task recovery."""


@dataclass(frozen=True)
class Settings:
    """How dimensions are told.

    Attributes:
        tau: Largest FVU at which a latent size counts as enough.
        gain: FVU per latent number below which another one does not pay.
        tolerance: How far below 1 `recovery_best` may be.
        draws: Of policies and training seeds, for intervals.
        seed: Of the draws.
    """

    tau: float = 0.1
    gain: float = 0.01
    tolerance: float = 0.05
    draws: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class Probe:
    """One estimator on one space.

    Attributes:
        space: `behavior`, `latent` or `map`.
        name: Of the estimator.
        value: Mean over training seeds; NaN where it could not be told.
        error: Standard error; over seeds too where there are several.
        surrogate: Of the Gaussian cloud with the same spectrum; NaN where there is none.
        surrogate_error: Its standard error.
    """

    space: str
    name: str
    value: float
    error: float
    surrogate: float
    surrogate_error: float


@dataclass(frozen=True)
class Result:
    """What the report says of one group.

    Attributes:
        group: Which.
        sizes: Latent sizes.
        curve: (FVU, low, high) at each.
        behavior: Behavior dimension.
        marginal: By the marginal rule.
        pca: FVU of PCA on actions by number of components.
        pca_floor: Smallest number of components with FVU at most tau, infinity if none was.
        affine: Numbers of an affine policy: action size x (rank of observations + 1).
        affine_fvu: FVU of the best affine policies.
        reachable: Twice the action size plus 1; None where no run has probes.
        prior: Distribution of the policies, or of those from which they were grown, in words.
        probes: Estimates of intrinsic dimension, of the runs with most latents.
        tasks: Task-recovery dimensions.
    """

    group: Group
    sizes: list[int]
    curve: np.ndarray
    behavior: Interval
    marginal: Interval
    pca: dict[int, float]
    pca_floor: float
    affine: int
    affine_fvu: float
    reachable: int | None
    prior: str
    probes: list[Probe]
    tasks: list[TaskDimension]

    def probe(self, space: str, name: str) -> Probe | None:
        """Return one estimate, or None."""
        return next((p for p in self.probes if (p.space, p.name) == (space, name)), None)


def analyze(group: Group, evaluations: Sequence[dict[str, Any]], settings: Settings) -> Result:
    """Return every number of a group."""
    sizes, errors, spread = group.sizes, group.errors(), group.runs[0].spread
    values = fvu(errors, spread)
    drawn = draw_fvu(errors, spread, joint=group.joint, draws=settings.draws, seed=settings.seed)
    low, high = percentiles(drawn)
    pca = group.pca()
    largest = max(run.latent_dims[-1] for run in group.runs)
    widest = runs_with_probes([run for run in group.runs if run.latent_dims[-1] == largest])
    probes = widest[0].probes if widest else None
    first = group.runs[0].summary
    return Result(
        group,
        sizes,
        np.stack([values, low, high], 1),
        dimension(first_below(settings.tau), values, drawn, sizes),
        dimension(marginal(settings.gain), values, drawn, sizes),
        pca,
        min((k for k, value in pca.items() if value <= settings.tau), default=math.inf),
        int(first["affine_numbers"]),
        float(first["affine_fvu"]),
        2 * int(probes["action_size"]) + 1 if probes else None,
        ("grown from " if group.runs[0].grown else "") + prior_words(_prior(group.runs[0])),
        collect_probes(widest),
        task_dimensions(group, evaluations, settings.tolerance),
    )


def collect_probes(runs: Sequence[Run]) -> list[Probe]:
    """Return the estimates of runs that differ in the training seed alone, averaged over them.

    All see the same policies, so that only the spread between seeds shrinks with their number.
    """
    found = []
    reports = [run.probes for run in runs if run.probes is not None]
    for space in ("behavior", "latent", "map"):
        for name in reports[0][space]["estimates"] if reports else ():
            told = [report[space]["estimates"].get(name, {}) for report in reports]
            value, error = _average(told, "value", "standard_error")
            surrogate, surrogate_error = _average(told, "surrogate", "surrogate_standard_error")
            found.append(Probe(space, name, value, error, surrogate, surrogate_error))
    return found


def _average(told: Sequence[Mapping[str, float | None]], key: str, error_key: str) -> tuple[float, float]:
    values, errors = (
        np.array([math.nan if one.get(name) is None else one[name] for one in told], dtype=float)
        for name in (key, error_key)
    )
    between = values.var(ddof=1) / len(values) if len(values) > 1 else 0.0
    return float(values.mean()), float(np.sqrt((errors**2).mean() + between))


def _prior(run: Run) -> dict[str, Any]:
    if run.probes is not None:
        return run.probes["prior"]
    config = yaml.safe_load((run.folder / "config.yaml").read_text())
    return config.get("data", {}).get("random", {}).get("prior", {})


def prior_words(prior: Mapping[str, Any]) -> str:
    """Return a prior in words, to stand beside every estimate."""
    if not prior:
        return "unknown"
    name = str(prior.get("initializer", "?"))
    known = {"fan_in_normal": "N(0, 1/fan-in)", "standard_normal": "N(0, 1)"}
    return f"{known.get(name, name)}, gain {prior.get('gain', 1):g}, bias {prior.get('bias_scale', 1):g}"
