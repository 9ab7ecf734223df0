"""All estimators of a space at once, each beside its Gaussian surrogate; what cannot be measured is NaN with a reason."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from lightning_pz.common.errors import UserError
from lightning_pz.probes import spectrum
from lightning_pz.probes.dimension import GRIDE_SCALES, gride, levina_bickel, local_pca, two_nn
from lightning_pz.probes.estimate import Points, ProbeEstimate, check_points
from lightning_pz.probes.extra import extra_estimate
from lightning_pz.probes.neighbors import distinct_points, neighbor_table

LOCAL_NEIGHBORS = 100  # Points of a neighborhood for local PCA


@dataclass(frozen=True)
class SpaceProbe:
    """All estimates of one space."""

    points: int  # Distinct points that were measured
    features: int  # Coordinates of each
    duplicates: int  # Points that were left out because another was the same
    estimates: dict[str, ProbeEstimate] = field(default_factory=dict)  # By name; NaN where `notes` says why
    # The same estimators on a Gaussian cloud with the same spectrum; empty if not asked for
    surrogates: dict[str, ProbeEstimate] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)  # By name, why an estimate is NaN

    def plain(self) -> dict[str, Any]:
        """Return it as plain data for JSON; NaN becomes null."""
        estimates = {name: plain_estimate(found) for name, found in self.estimates.items()}
        for name, found in self.surrogates.items():
            estimates[name] |= plain_estimate(found, "surrogate")
        counts = {"points": self.points, "features": self.features, "duplicates_dropped": self.duplicates}
        return {**counts, "estimates": estimates, "notes": self.notes}


def plain_estimate(found: ProbeEstimate, name: str = "value") -> dict[str, float | None]:
    """Return an estimate as plain data for JSON; NaN becomes null."""
    error = "standard_error" if name == "value" else f"{name}_standard_error"
    both = {name: found.value, error: found.standard_error}
    return {key: value if math.isfinite(value) else None for key, value in both.items()}


def measure_space(
    points: Points, *, neighbors: int = 20, seed: int = 0, surrogate: bool = True, extra: Sequence[str] = ()
) -> SpaceProbe:
    """Return every estimate of some points, (N, D), duplicates dropped first, and of their Gaussian surrogate.

    Points that cannot be measured (too few, all equal, not finite) give NaN everywhere with the reason in `notes`. The keys are
    `participation_ratio`, `entropy_rank`, `n90`, `n95`, `n99`, `two_nn`, `gride_1` to `gride_32` (the nearer neighbor's
    order), `levina_bickel` (of `neighbors`), `local_pca` and the names of `extra`, estimators of scikit-dimension. The seed
    is that of the surrogate and of the centers of local PCA.
    """
    count, features = points.shape
    try:
        check_points(points, 2, "a space")
        kept, _ = distinct_points(points)
        shape = spectrum.spectrum(kept)
    except UserError as error:
        names = _probes(points, None, None, neighbors, seed, extra)
        nothing, reasons = dict.fromkeys(names, ProbeEstimate(math.nan)), dict.fromkeys(names, str(error))
        return SpaceProbe(count, features, 0, nothing, {}, reasons)
    estimates, notes = _measure(kept, shape, neighbors, seed, extra)
    twin = spectrum.gaussian_surrogate(shape, seed) if surrogate else kept
    surrogates = _measure(twin, spectrum.spectrum(twin), neighbors, seed, extra)[0] if surrogate else {}
    return SpaceProbe(len(kept), features, count - len(kept), estimates, surrogates, notes)


def _probes(
    points: Points, shape: Any, table: Any, neighbors: int, seed: int, extra: Sequence[str]
) -> dict[str, Callable[[], ProbeEstimate]]:
    """Return the estimators of distinct points with their spectrum and table, by name; nothing is computed yet."""
    return {
        "participation_ratio": partial(spectrum.participation_ratio, shape),
        "entropy_rank": partial(spectrum.entropy_rank, shape),
        **{f"n{share}": partial(spectrum.components_for, shape, share / 100) for share in (90, 95, 99)},
        "two_nn": partial(two_nn, table),
        **{f"gride_{near}": partial(gride, table, near) for near in GRIDE_SCALES},
        "levina_bickel": partial(levina_bickel, table, neighbors),
        "local_pca": partial(local_pca, points, table, LOCAL_NEIGHBORS, seed=seed),
        **{name: partial(extra_estimate, name, points, seed) for name in extra},
    }


def _measure(
    points: Points, shape: spectrum.Spectrum, neighbors: int, seed: int, extra: Sequence[str]
) -> tuple[dict[str, ProbeEstimate], dict[str, str]]:
    widest = max(2 * GRIDE_SCALES[-1], LOCAL_NEIGHBORS, neighbors)  # or as wide as the points allow
    table = neighbor_table(points, min(widest, len(points) - 1))
    estimates, notes = {}, {}
    for name, probe in _probes(points, shape, table, neighbors, seed, extra).items():
        try:
            estimates[name] = probe()
        except UserError as error:
            estimates[name], notes[name] = ProbeEstimate(math.nan), str(error)
    return estimates, notes
