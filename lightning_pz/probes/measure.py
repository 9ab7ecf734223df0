"""All estimators of a space at once, each beside its Gaussian surrogate; what cannot be measured is NaN with a reason."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightning_pz.common.errors import UserError
from lightning_pz.probes.dimension import GRIDE_SCALES, gride, levina_bickel, two_nn
from lightning_pz.probes.estimate import Points, ProbeEstimate, check_points
from lightning_pz.probes.extra import extra_estimate
from lightning_pz.probes.local_pca import local_pca
from lightning_pz.probes.neighbors import NeighborTable, distinct_points, neighbor_table
from lightning_pz.probes.spectrum import (
    Spectrum,
    components_for,
    entropy_rank,
    gaussian_surrogate,
    participation_ratio,
    spectrum,
)

LOCAL_NEIGHBORS = 100
"""Points of a neighborhood for local PCA."""


@dataclass(frozen=True)
class SpaceProbe:
    """What all estimators say of one space.

    Attributes:
        points: Distinct points that were measured.
        features: Coordinates of each.
        duplicates: Points that were left out because another was the same.
        estimates: By name; NaN where `notes` says why.
        surrogates: The same estimators on a Gaussian cloud with the same spectrum; empty if not asked for.
        notes: By name, why an estimate is NaN.
    """

    points: int
    features: int
    duplicates: int
    estimates: dict[str, ProbeEstimate] = field(default_factory=dict)
    surrogates: dict[str, ProbeEstimate] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """Return it as plain data for JSON; NaN becomes null."""
        return {
            "points": self.points,
            "features": self.features,
            "duplicates_dropped": self.duplicates,
            "estimates": {
                name: plain_estimate(found)
                | (plain_estimate(self.surrogates[name], "surrogate") if name in self.surrogates else {})
                for name, found in self.estimates.items()
            },
            "notes": self.notes,
        }


def plain_estimate(found: ProbeEstimate, name: str = "value") -> dict[str, float | None]:
    """Return an estimate as plain data for JSON; NaN becomes null."""
    error = "standard_error" if name == "value" else f"{name}_standard_error"
    return {name: _finite(found.value), error: _finite(found.standard_error)}


def measure_space(
    points: Points, *, neighbors: int = 20, seed: int = 0, surrogate: bool = True, extra: Sequence[str] = ()
) -> SpaceProbe:
    """Return every estimator's answer on some points, duplicates dropped first, and on their Gaussian surrogate.

    Points that tell nothing (too few, all equal, not finite) give NaN everywhere with the reason in `notes`.

    The keys are `participation_ratio`, `entropy_rank`, `n90`, `n95`, `n99`, `two_nn`, `gride_1` to `gride_32` (the nearer
    neighbor's order), `levina_bickel`, `local_pca` and the names of `extra`.

    Args:
        points: (N, D).
        neighbors: Neighbors of Levina-Bickel.
        seed: Of the surrogate and of the centers of local PCA.
        surrogate: Whether to measure the surrogate too.
        extra: Estimators of scikit-dimension.
    """
    count, features = points.shape
    try:
        check_points(points, 2, "a space")
        kept, _ = distinct_points(points)
        shape = spectrum(kept)
    except UserError as error:
        names = _probes(None, neighbors, seed, extra)
        return SpaceProbe(
            count, features, 0, dict.fromkeys(names, ProbeEstimate(math.nan)), {}, dict.fromkeys(names, str(error))
        )
    estimates, notes = _all(_Cloud.of(kept, shape, neighbors), neighbors, seed, extra)
    surrogates: dict[str, ProbeEstimate] = {}
    if surrogate:
        twin = gaussian_surrogate(shape, seed)
        surrogates, _ = _all(_Cloud.of(twin, spectrum(twin), neighbors), neighbors, seed, extra)
    return SpaceProbe(len(kept), features, count - len(kept), estimates, surrogates, notes)


@dataclass(frozen=True)
class _Cloud:
    """Distinct points with what the estimators share."""

    points: Points
    spectrum: Spectrum
    table: NeighborTable

    @staticmethod
    def of(points: Points, shape: Spectrum, neighbors: int) -> _Cloud:
        """Make the table as wide as any estimator needs, or as the points allow."""
        widest = max(2 * GRIDE_SCALES[-1], LOCAL_NEIGHBORS, neighbors)
        return _Cloud(points, shape, neighbor_table(points, min(widest, len(points) - 1)))


def _probes(cloud: Any, neighbors: int, seed: int, extra: Sequence[str]) -> dict[str, Callable[[], ProbeEstimate]]:
    """Return what to compute by name; nothing is touched before it is called."""
    probes: dict[str, Callable[[], ProbeEstimate]] = {
        "participation_ratio": lambda: participation_ratio(cloud.spectrum),
        "entropy_rank": lambda: entropy_rank(cloud.spectrum),
        "n90": lambda: components_for(cloud.spectrum, 0.90),
        "n95": lambda: components_for(cloud.spectrum, 0.95),
        "n99": lambda: components_for(cloud.spectrum, 0.99),
        "two_nn": lambda: two_nn(cloud.table),
    }
    for near in GRIDE_SCALES:
        probes[f"gride_{near}"] = lambda near=near: gride(cloud.table, near)  # type: ignore[misc]
    probes["levina_bickel"] = lambda: levina_bickel(cloud.table, neighbors)
    probes["local_pca"] = lambda: local_pca(cloud.points, cloud.table, LOCAL_NEIGHBORS, seed=seed)
    for name in extra:
        probes[name] = lambda name=name: extra_estimate(name, cloud.points, seed)  # type: ignore[misc]
    return probes


def _all(
    cloud: _Cloud, neighbors: int, seed: int, extra: Sequence[str]
) -> tuple[dict[str, ProbeEstimate], dict[str, str]]:
    estimates, notes = {}, {}
    for name, probe in _probes(cloud, neighbors, seed, extra).items():
        try:
            estimates[name] = probe()
        except UserError as error:
            estimates[name], notes[name] = ProbeEstimate(math.nan), str(error)
    return estimates, notes


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
