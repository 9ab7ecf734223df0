"""What the section `search` of a study may hold: values of a grid, or ranges and choices to search."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lightning_pz.common.errors import UserError
from sweeps.optuna_study.reading import check_distinct


def check_range(spec: Any, sampler: str) -> None:
    """Raise `UserError` unless a value of the section is one that the sampler, `grid` or `tpe`, can vary."""
    if sampler == "grid":
        if not isinstance(spec, list) or not spec:
            raise UserError(f"a grid expects a list of values, such as [1, 2], but got {spec!r}")
        check_distinct("the grid", spec)
        return
    kinds: tuple[set[str], ...] = ({"low", "high"}, {"choices"}, {"width", "depth"})
    if not isinstance(spec, dict) or set(spec) - {"log", "step"} not in kinds:
        raise UserError(f"a search expects {{low, high, log, step}}, {{choices}} or {{width, depth}}, but got {spec!r}")
    for key in {"choices", "width", "depth"} & set(spec):
        if not isinstance(spec[key], list) or not spec[key] or {"log", "step"} & set(spec):
            raise UserError(f"{key} expects a list with at least one entry and nothing else, but got {spec!r}")
        check_distinct(key, spec[key])
        if key != "choices" and not all(type(value) is int and value >= 1 for value in spec[key]):
            raise UserError(f"{key} expects whole numbers of at least 1, but got {spec[key]}")
    if "low" in spec:
        _check_span(spec)


def _check_span(spec: Mapping[str, Any]) -> None:
    low, high, step, log = spec["low"], spec["high"], spec.get("step"), spec.get("log", False)
    for key in ("low", "high", *([] if step is None else ["step"])):
        if isinstance(spec[key], bool) or not isinstance(spec[key], int | float) or not math.isfinite(spec[key]):
            raise UserError(f"{key} expects a number, such as 0.001 (YAML reads 1e-3 as a word), but got {spec[key]!r}")
    if not low < high:
        raise UserError(f"a range expects low below high, but got low {low} and high {high}")
    if not isinstance(log, bool) or (log and step is not None):
        raise UserError(f"log expects true or false, and no step beside true, but got {spec!r}")
    if log and low <= 0:
        raise UserError(f"a logarithmic range expects low above 0, but got {low}")
    whole = isinstance(low, int) and isinstance(high, int)
    if step is not None and (step <= 0 or (whole and not isinstance(step, int))):
        raise UserError(f"step expects a {'whole ' if whole else ''}number above 0, but got {step}")
