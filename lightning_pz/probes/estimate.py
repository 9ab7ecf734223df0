"""An estimate with its standard error, and the check of points that every probe begins with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_pz.common.errors import UserError

Points = Float[Tensor, "points features"]


@dataclass(frozen=True)
class ProbeEstimate:
    """An estimate of a probe."""

    value: float  # The estimate; NaN only where the probe's documentation says so
    # Its standard error over the draw of the points, in the same unit; NaN where none is known
    standard_error: float = math.nan


def mean_estimate(values: Float[Tensor, " values"]) -> ProbeEstimate:
    """Return the mean of independent values with its standard error (NaN for a single value)."""
    values = values.double()
    error = float(values.std() / math.sqrt(len(values))) if len(values) > 1 else math.nan
    return ProbeEstimate(float(values.mean()), error)


def check_points(points: Points, needed: int, probe: str) -> None:
    """Raise `UserError` for fewer than `needed` points, (N, D), for one that is not finite, or if all are equal."""
    if len(points) < needed:
        raise UserError(
            f"{probe} needs at least {needed} distinct points, but got {len(points)}: raise --probes.policies or "
            "--data.val_share, or collect more policies"
        )
    bad = (~torch.isfinite(points)).any(1)
    if bad.any():
        row = int(bad.nonzero()[0, 0])
        raise UserError(
            f"{probe} expects finite numbers, but {int(bad.sum())} of {len(points)} points have others, first row {row}"
        )
    if bool((points == points[0]).all()):
        raise UserError(
            f"{probe} expects points that differ, but all {len(points)} are equal: raise --data.random.prior.gain"
        )
