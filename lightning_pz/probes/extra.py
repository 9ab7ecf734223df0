"""Any estimator of scikit-dimension by its name, for those who have it installed."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Sequence

from lightning_pz.common.errors import UserError, nearest
from lightning_pz.probes.estimate import Points, ProbeEstimate


def check_estimators(names: Sequence[str]) -> None:
    """Refuse names that scikit-dimension does not have, before any work.

    Raises:
        UserError: The package is not installed, or knows no such estimator.
    """
    if not names:
        return
    if importlib.util.find_spec("skdim") is None:
        raise UserError(
            f"--probes.extra {' '.join(names)} needs scikit-dimension, which is not installed: pip install 'lightning_pz[dimension]'"
        )
    import skdim

    known = sorted(
        name for name in dir(skdim.id) if not name.startswith("_") and hasattr(getattr(skdim.id, name), "fit")
    )
    for name in names:
        if name not in known:
            raise UserError(
                f"--probes.extra expects estimators of scikit-dimension ({', '.join(known)}), but got {name!r}."
                + nearest(name, known)
            )


def extra_estimate(name: str, points: Points, seed: int = 0) -> ProbeEstimate:
    """Return what an estimator of scikit-dimension says with its default settings, with its own error where it has one.

    Args:
        name: Its class in `skdim.id`, say `CorrInt`.
        points: (N, D).
        seed: For those that draw random numbers.

    Raises:
        UserError: An unknown name, or points that the estimator refuses.
    """
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
