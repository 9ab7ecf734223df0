"""Estimators of scikit-dimension by name, where it is installed."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from lightning_pz.common.checks import check_extra
from lightning_pz.common.errors import UserError, nearest
from lightning_pz.probes.estimate import Points, ProbeEstimate


def check_estimators(names: Sequence[str]) -> None:
    """Raise `UserError` unless scikit-dimension is installed and has estimators of these names."""
    if not names:
        return
    check_extra("skdim", "dimension", f"--probes.extra {' '.join(names)}")
    import skdim

    known = sorted(name for name in dir(skdim.id) if hasattr(getattr(skdim.id, name), "fit") and name[0] != "_")
    for name in names:
        if name not in known:
            raise UserError(
                f"--probes.extra expects estimators of scikit-dimension ({', '.join(known)}), but got {name!r}."
                + nearest(name, known)
            )


def extra_estimate(name: str, points: Points, seed: int = 0) -> ProbeEstimate:
    """Return the estimate of a class in `skdim.id`, such as `CorrInt`, with its own standard error where it has one."""
    check_estimators([name])
    import skdim

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its advice on its own settings, which are not ours to change
        try:
            estimator = getattr(skdim.id, name)()
            if "random_state" in estimator.get_params():
                estimator.set_params(random_state=seed)
            fitted = estimator.fit(points.double().numpy())
        except ValueError as error:
            raise UserError(
                f"scikit-dimension's {name} refuses {len(points)} points of {points.shape[1]} features: {error}"
            ) from error
    return ProbeEstimate(float(fitted.dimension_), float(getattr(fitted, "error_", float("nan"))))
