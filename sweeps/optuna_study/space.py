"""Translates between dotted settings and Optuna: distributions, parameters, and a trial's settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import BaseTrial

from lightning_pz.envs.presets import preset_names
from sweeps.optuna_study.plan import StudyPlan

Point = Mapping[str, Any]


def search_space(plan: StudyPlan) -> dict[str, BaseDistribution]:
    """Return Optuna's distribution of every parameter of a study."""
    if plan.sampler == "tpe":
        found: dict[str, BaseDistribution] = {"policy": CategoricalDistribution(list(plan.policies))}
        for key, spec in plan.search.items():
            found |= _searched(key, spec)
        return found
    names = sorted({*plan.policies, *preset_names("policy")})
    listed = {"seed_everything": plan.seeds, **plan.search}
    return {"policy": CategoricalDistribution(names)} | {key: _listed(values) for key, values in listed.items()}


def to_params(plan: StudyPlan, point: Point) -> dict[str, Any]:
    """Return a point as Optuna's parameters: what it cannot hold is written as JSON."""
    space = search_space(plan)
    return {
        key: json.dumps(value) if isinstance(space[key], CategoricalDistribution) and key != "policy" else value
        for key, value in point.items()
    }


def from_params(plan: StudyPlan, params: Point) -> dict[str, Any]:
    """Return the settings that Optuna's parameters stand for."""
    point = {"policy": params["policy"], "seed_everything": params.get("seed_everything", plan.seeds[0])}
    for key, spec in plan.search.items():
        if isinstance(spec, dict) and "width" in spec:
            point[key] = [params[f"{key}.width"]] * params[f"{key}.depth"]
        else:
            value = params[key]
            point[key] = json.loads(value) if isinstance(value, str) else value
    return point


def suggest(trial: BaseTrial, plan: StudyPlan) -> dict[str, Any]:
    """Let a trial choose its parameters, or take what was queued for it, and return them."""
    for name, one in search_space(plan).items():
        if name in trial.params:  # it is done again, and its grid may have grown since
            continue
        if isinstance(one, CategoricalDistribution):
            trial.suggest_categorical(name, one.choices)
        elif isinstance(one, IntDistribution | FloatDistribution):
            choose: Any = trial.suggest_int if isinstance(one, IntDistribution) else trial.suggest_float
            choose(name, one.low, one.high, step=one.step, log=one.log)
    return dict(trial.params)


def _listed(values: list[Any]) -> BaseDistribution:
    """Return a range for numbers, which a grid may later outgrow; Optuna lets no set of choices change."""
    if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return IntDistribution(min(values), max(values))
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return FloatDistribution(min(values), max(values))
    return CategoricalDistribution([json.dumps(value) for value in values])


def _searched(key: str, spec: Mapping[str, Any]) -> dict[str, BaseDistribution]:
    if "choices" in spec:
        return {key: CategoricalDistribution([json.dumps(value) for value in spec["choices"]])}
    if "width" in spec:
        depth = IntDistribution(min(spec["depth"]), max(spec["depth"]))
        return {f"{key}.width": CategoricalDistribution(spec["width"]), f"{key}.depth": depth}
    log, step = spec.get("log", False), spec.get("step")
    if isinstance(spec["low"], int) and isinstance(spec["high"], int):
        return {key: IntDistribution(spec["low"], spec["high"], step=step or 1, log=log)}
    return {key: FloatDistribution(spec["low"], spec["high"], step=step, log=log)}
