"""What may stand in the section `search` of a study: values of a grid, or ranges and choices to search."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lightning_pz.common.errors import UserError
from sweeps.optuna_study.reading import distinct


def check_range(where: str, spec: Any, sampler: str) -> None:
    """Raise `UserError` for a value of the section that is no range.

    Args:
        where: File and key, for the message.
        spec: The value.
        sampler: `grid` or `tpe`.
    """
    if sampler == "grid":
        if not isinstance(spec, list) or not spec:
            raise UserError(f"{where}: a grid expects a list of values, such as [1, 2], but got {spec!r}")
        distinct(where, spec, "the grid")
        return
    kinds: tuple[set[str], ...] = ({"low", "high"}, {"choices"}, {"width", "depth"})
    if not isinstance(spec, dict) or set(spec) - {"log", "step"} not in kinds:
        raise UserError(
            f"{where}: a search expects {{low, high, log, step}}, {{choices}} or {{width, depth}}, but got {spec!r}"
        )
    for key in ("choices", "width", "depth"):
        if key not in spec:
            continue
        if not isinstance(spec[key], list) or not spec[key] or {"log", "step"} & set(spec):
            raise UserError(f"{where}: {key} expects a list with at least one entry and nothing else, but got {spec!r}")
        distinct(where, spec[key], key)
        if key != "choices" and not all(type(value) is int and value >= 1 for value in spec[key]):
            raise UserError(f"{where}: {key} expects whole numbers of at least 1, but got {spec[key]}")
    if "low" in spec:
        _check_span(where, spec)


def _check_span(where: str, spec: Mapping[str, Any]) -> None:
    low, high, step, log = spec["low"], spec["high"], spec.get("step"), spec.get("log", False)
    for key in ("low", "high", *([] if step is None else ["step"])):
        if isinstance(spec[key], bool) or not isinstance(spec[key], int | float) or not math.isfinite(spec[key]):
            raise UserError(
                f"{where}: {key} expects a number, such as 0.001 (YAML reads 1e-3 as a word), but got {spec[key]!r}"
            )
    if not low < high:
        raise UserError(f"{where}: a range expects low below high, but got low {low} and high {high}")
    if not isinstance(log, bool) or (log and step is not None):
        raise UserError(f"{where}: log expects true or false, and no step beside true, but got {spec!r}")
    if log and low <= 0:
        raise UserError(f"{where}: a logarithmic range expects low above 0, but got {low}")
    whole = isinstance(low, int) and isinstance(high, int)
    if step is not None and (step <= 0 or (whole and not isinstance(step, int))):
        raise UserError(f"{where}: step expects a {'whole ' if whole else ''}number above 0, but got {step}")
