"""What a study varies: a file of `conf/sweep/`, read and checked, as points of a grid or as ranges to search."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from lightning_pz.errors import UserError, nearest
from lightning_pz.presets import merge, preset_names
from sweeps.fits import Fit

SAMPLERS = ("grid", "tpe")
PRUNERS = ("none", "median")


@dataclass(frozen=True)
class Confirm:
    """How the best few of a search are measured again, by their test FVU.

    Args:
        best: How many of them, beside the settings that the search began from.
        seeds: Training seeds that the search did not see, the same for each of them.
        p_threshold: A candidate stops once a Wilcoxon signed-rank test over the seeds says it is worse.
    """

    best: int
    seeds: list[int]
    p_threshold: float = 0.1


@dataclass(frozen=True)
class Plan:
    """A study.

    Args:
        search: By dotted key of `fit`: a list of values (grid), or `{low, high, log, step}`, `{choices}` or
            `{width, depth}` (tpe), the last for a list of equal hidden widths.
        policies: Policy presets, each with settings of `fit` that hold for it alone; a name that is no preset needs
            `policy.hidden`.
        seeds: Training seeds; `tpe` searches with the first.
        fit: Settings of `fit` that stay the same.
        sampler: `grid` (every combination once) or `tpe`.
        metric: Key of the summary that is told as a trial's value.
        trials: Trials of `tpe`.
        pruner: `none`, or `median`: a trial stops whose held-out FVU is worse than the median at that step.
        pruner_startup: Finished trials before any is stopped.
        pruner_warmup: Training steps before a trial may be stopped.
        seed: Of the sampler.
        confirm: How the best few are confirmed; not at all if null.
        finetune: Settings of `finetune`; the value is then the mean return of its searches, the larger the better.
    """

    search: dict[str, Any]
    policies: dict[str, dict[str, Any]]
    seeds: list[int]
    fit: dict[str, Any] = field(default_factory=dict)
    sampler: str = "grid"
    metric: str = "test_fvu"
    trials: int = 30
    pruner: str = "none"
    pruner_startup: int = 5
    pruner_warmup: int = 0
    seed: int = 0
    confirm: Confirm | None = None
    finetune: dict[str, Any] | None = None

    @property
    def direction(self) -> Literal["minimize", "maximize"]:
        """What Optuna shall do with the value."""
        return "maximize" if self.finetune is not None else "minimize"

    def points(self, policies: list[str]) -> list[dict[str, Any]]:
        """Return the points of a grid, one seed after the other, so that the first ones span the whole range."""
        keys = list(self.search)
        return [
            {"policy": policy, "seed_everything": seed, **dict(zip(keys, values, strict=True))}
            for seed, policy, *values in itertools.product(self.seeds, policies, *self.search.values())
        ]

    def corners(self, policies: list[str]) -> list[dict[str, Any]]:
        """Return what shows whether every setting is one that `fit` takes: the grid, or the ends of the ranges."""
        if self.sampler == "grid":
            return self.points(policies)
        ends = {key: _ends(spec) for key, spec in self.search.items()}
        return [
            {"policy": policy, "seed_everything": self.seeds[0]} | {key: end[side] for key, end in ends.items()}
            for policy in policies
            for side in (0, -1)
        ]

    def make_fit(self, study: str, env: str, env_name: str, logs: str, params: Mapping[str, Any]) -> Fit:
        """Return the fit of a trial, its folder named by what it is.

        Args:
            study: Name of the study.
            env: Preset or Gymnasium id.
            env_name: Its short name.
            logs: Folder for pools and runs.
            params: A value for `policy`, `seed_everything`, and every searched key.
        """
        policy, seed = params["policy"], params["seed_everything"]
        own = {key: value for key, value in params.items() if key != "policy"}
        settings = {**self.fit, **self.policies.get(policy, {}), **own}
        k = settings.get("model.latent_dim")
        varied = {key: value for key, value in own.items() if key not in ("seed_everything", "model.latent_dim")}
        if self.sampler == "grid":
            parts = [f"{key.rsplit('.', 1)[-1]}-{_slug(value)}" for key, value in varied.items()]
        else:
            parts = [hashlib.sha256(json.dumps(varied, sort_keys=True).encode()).hexdigest()[:8]]
        name = "-".join([study, policy, *([f"k{k}"] if k is not None else []), *parts, f"seed{seed}"])
        return Fit(name, env, env_name, policy, settings, logs)

    def identity(self) -> dict[str, Any]:
        """Return what all trials of one study must share; a grid may grow."""
        shared: dict[str, Any] = {
            "fit": self.fit,
            "policies": self.policies,
            "sampler": self.sampler,
            "metric": self.metric,
        }
        shared |= {"finetune": self.finetune, "keys": sorted(self.search)}
        return shared | ({"search": self.search, "seed": self.seed} if self.sampler == "tpe" else {})


def load_plan(path: Path, env_name: str) -> Plan:
    """Read a study and what it says of one environment.

    Raises:
        UserError: No such file, or keys or values that mean nothing.
    """
    text = read_study(path)
    settings = merge(text.get("default", {}), text.get(env_name, {}))
    known = Plan.__dataclass_fields__
    for key in settings:
        if key not in known:
            raise UserError(f"{path}: a study has the keys {', '.join(known)}, but got {key!r}." + nearest(key, known))
    for key in ("search", "policies", "seeds"):
        if not settings.get(key):
            raise UserError(f"{path}: a study expects {key!r} with at least one entry, but got {settings.get(key)!r}")
    for key, choices in (("sampler", SAMPLERS), ("pruner", PRUNERS)):
        if settings.get(key, choices[0]) not in choices:
            raise UserError(f"{path}: {key} expects one of {', '.join(choices)}, but got {settings[key]!r}")
    if (confirm := settings.get("confirm")) is not None:
        try:
            settings["confirm"] = Confirm(**confirm)
        except TypeError as error:
            raise UserError(f"{path}: confirm has the keys best, seeds and p_threshold, but got {confirm}") from error
    settings["policies"] = {name: own or {} for name, own in settings["policies"].items()}
    plan = Plan(**settings)
    for key, spec in plan.search.items():
        _check_range(path, key, spec, plan.sampler)
    return plan


def read_study(path: Path) -> dict[str, Any]:
    """Read a study's file.

    Raises:
        UserError: There is none, or it is no mapping.
    """
    if not path.is_file():
        raise UserError(f"--grid expects a YAML file, but there is none at {path}")
    text = yaml.safe_load(path.read_text())
    if not isinstance(text, dict):
        raise UserError(f"{path}: a study expects sections such as `default:`, but the file holds {text!r}")
    return text


def choose_policies(plan: Plan, asked: str | None) -> list[str]:
    """Return the policies of a study, or those that `--policy small,medium` picks.

    Raises:
        UserError: One that is neither of the study nor a preset.
    """
    if asked is None:
        return list(plan.policies)
    known = sorted({*plan.policies, *preset_names("policy")})
    for name in asked.split(","):
        if name not in known:
            raise UserError(f"--policy expects some of {', '.join(known)}, but got {name!r}." + nearest(name, known))
    return asked.split(",")


def _check_range(path: Path, key: str, spec: Any, sampler: str) -> None:
    if sampler == "grid":
        if not isinstance(spec, list) or not spec:
            raise UserError(f"{path}: a grid expects a list of values for {key}, but got {spec!r}")
    elif not isinstance(spec, dict) or set(spec) - {"low", "high", "log", "step"} not in (
        set(),
        {"choices"},
        {"width", "depth"},
    ):
        raise UserError(
            f"{path}: a search expects {{low, high, log, step}}, {{choices}} or {{width, depth}} for {key}, but got {spec!r}"
        )


def _ends(spec: Mapping[str, Any]) -> list[Any]:
    if "choices" in spec:
        return list(spec["choices"])
    if "width" in spec:
        depths = _ends({"choices": spec["depth"]})
        return [
            [width] * depth
            for width, depth in zip((spec["width"][0], spec["width"][-1]), (depths[0], depths[-1]), strict=True)
        ]
    return [spec["low"], spec["high"]]


def _slug(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return re.sub(r"[^a-zA-Z0-9_.]+", "-", text).strip("-")
