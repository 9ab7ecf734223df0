"""Reads the file of a study: what it varies, as points of a grid or as ranges to search."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lightning_pz.common.checks import LARGEST_SEED, plain_name
from lightning_pz.common.errors import UserError, nearest
from lightning_pz.envs.presets import preset_names
from sweeps.optuna_study.reading import (
    check_distinct,
    check_filled,
    check_numbers,
    errors_from,
    from_plain,
    read_sections,
    whole_numbers,
)

SUMMARY_METRICS = ("test_fvu", "val_fvu", "train_fvu", "fit_seconds")
"""Keys of every fit's summary that a study may minimize; nested fits have `test_fvu_k<size>` for each size as well."""

UNSAID = {"data.recipe": "random", "data.grown.steps": 10_000_000}
"""What fits took where a study said nothing, before presets of environments chose how pools are made.

It does not count in a study's identity, so that studies of then are found again by files that say it.
"""


@dataclass(frozen=True)
class Confirm:
    """How the best few of a search are measured again, by their test FVU."""

    best: int  # how many of them, beside the settings that the search began from
    seeds: list[int]  # training seeds that the search did not see, the same for each candidate
    p_threshold: float = 0.1  # a candidate stops once a Wilcoxon signed-rank test over the seeds says it is worse

    def __post_init__(self) -> None:
        whole_numbers({"best": self.best}, 1)
        check_numbers("seeds", self.seeds, 0, LARGEST_SEED)
        if not 0 < self.p_threshold < 1:
            raise UserError(f"p_threshold expects a number between 0 and 1, but got {self.p_threshold}")


@dataclass(frozen=True)
class StudyPlan:
    """What a study varies and what stays the same."""

    # By dotted key of `fit`: a list of values (grid), or `{low, high, log, step}`, `{choices}` or `{width, depth}` (tpe),
    # the last for a list of equal hidden widths.
    search: dict[str, Any]
    # Policy presets, each with settings of `fit` that hold for it alone; a name that is no preset needs `policy.hidden`.
    policies: dict[str, dict[str, Any]]
    seeds: list[int]  # training seeds; `tpe` searches with the first
    fit: dict[str, Any] = field(default_factory=dict)  # settings of `fit` that stay the same
    sampler: Literal["grid", "tpe"] = "grid"  # `grid` does every combination once
    metric: str = "test_fvu"  # key of a fit's summary that is a trial's value, the smaller the better
    trials: int = 30  # of `tpe`
    pruner: Literal["none", "median"] = (
        "none"  # `median` stops a trial whose held-out FVU is worse than that at the step
    )
    pruner_startup: int = 5  # finished trials before any is stopped
    pruner_warmup: int = 0  # training steps before a trial may be stopped
    seed: int = 0  # of the sampler
    confirm: Confirm | None = None  # how the best few are confirmed; not at all if None
    finetune: dict[str, Any] | None = (
        None  # its settings; a trial's value is then the mean return, the larger the better
    )

    def __post_init__(self) -> None:
        check_filled({"search": self.search, "policies": self.policies})
        check_numbers("seeds", self.seeds, 0, LARGEST_SEED)
        for name in self.policies:
            plain_name("policies", name)
        whole_numbers({"trials": self.trials}, 1)
        whole_numbers({"pruner_startup": self.pruner_startup, "pruner_warmup": self.pruner_warmup})
        # Each trial's sampler has a seed of its own: this one and the number of trials.
        whole_numbers({"seed": self.seed}, 0, LARGEST_SEED - 2 * self.trials)
        if self.metric not in SUMMARY_METRICS and not re.fullmatch(r"test_fvu_k[1-9]\d*", self.metric):
            raise UserError(
                f"metric expects one of {', '.join(SUMMARY_METRICS)}, or test_fvu_k<size> of a nested fit, but got "
                f"{self.metric!r}." + nearest(self.metric, SUMMARY_METRICS)
            )
        self._check_pools()
        for key, given in (("pruner", self.pruner != "none"), ("confirm", self.confirm is not None)):
            if self.finetune is not None and given:
                raise UserError(f"{key} judges fits by FVU, so it cannot be combined with finetune: leave one out")
        if self.confirm is not None and (both := sorted(set(self.confirm.seeds) & set(self.seeds))):
            raise UserError(f"confirm expects seeds that the search does not see, but {both} are in both")
        if self.confirm is not None and self.metric.startswith("test_fvu"):
            raise UserError(
                "metric expects val_fvu beside confirm, which reports test_fvu: it would be measured on the policies that have "
                f"chosen the best. But got {self.metric!r}"
            )
        if self.sampler == "grid" and self.pruner != "none" and len(self.seeds) > 1:
            raise UserError(
                f"pruner expects none in a grid of several seeds, but got {self.pruner!r}: means over the seeds that survive are "
                "those of lucky ones. Leave pruner out, or list one seed"
            )
        for key, spec in self.search.items():
            if key in ("policy", "seed_everything"):
                raise UserError(f"search cannot vary {key}: list it in {'policies' if key == 'policy' else 'seeds'}")
            with errors_from(f"search.{key}"):
                check_range(spec, self.sampler)

    def _check_pools(self) -> None:
        """Refuse settings of recipes beside a given pool, which is used as it is."""
        for name, own in self.policies.items():
            keys = {**self.fit, **own, **self.search}
            if keys.get("data.pool") is None:
                continue
            if idle := [key for key in keys if key.startswith(("data.recipe", "data.random.", "data.grown."))]:
                raise UserError(
                    f"{', '.join(sorted(idle))} of policies {name} would have no effect beside data.pool, a pool that is "
                    "used as it is: leave one out"
                )

    @property
    def direction(self) -> Literal["minimize", "maximize"]:
        """Whether a smaller or a larger value is better."""
        return "maximize" if self.finetune is not None else "minimize"

    def points(self, policies: list[str]) -> list[dict[str, Any]]:
        """Return the points of a grid, one seed after the other, so that the first ones span the whole range."""
        return [
            {"policy": policy, "seed_everything": seed, **dict(zip(self.search, values, strict=True))}
            for seed, policy, *values in itertools.product(self.seeds, policies, *self.search.values())
        ]

    def corners(self, policies: list[str]) -> list[dict[str, Any]]:
        """Return points that show whether `fit` takes every setting: the grid, or the ends of the ranges."""
        if self.sampler == "grid":
            return self.points(policies)
        ends = {key: _ends(spec) for key, spec in self.search.items()}
        return [
            {"policy": policy, "seed_everything": self.seeds[0]} | {key: end[side] for key, end in ends.items()}
            for policy in policies
            for side in (0, -1)
        ]

    def identity(self) -> dict[str, Any]:
        """Return what all trials of one study must share; a grid may grow."""
        names = ("fit", "policies", "sampler", "metric", "finetune")
        shared = {name: getattr(self, name) for name in names} | {"keys": sorted(self.search)}
        shared["pruner"] = [self.pruner, self.pruner_startup, self.pruner_warmup]
        own = {"search": self.search, "seed": self.seed, "training_seed": self.seeds[0]}
        return shared | (own if self.sampler == "tpe" else {})


def load_plan(path: Path, env_name: str) -> StudyPlan:
    """Read a study and its settings for one environment; a `UserError` names the file and the key of a mistake."""
    settings, _ = read_sections(path, env_name, ("environments",))
    if settings.get("finetune") is not None and "metric" in settings:
        raise UserError(f"{path}: metric is of no use beside finetune, whose value is the mean return: leave one out")
    return from_plain(StudyPlan, settings, f"{path}: a study")


def choose_policies(plan: StudyPlan, asked: str | None) -> list[str]:
    """Return the policies of a study, or those of it and of the presets that `--policy small,medium` picks."""
    if asked is None:
        return list(plan.policies)
    known = sorted({*plan.policies, *preset_names("policy")})
    chosen = list(dict.fromkeys(asked.split(",")))
    for name in chosen:
        if name not in known:
            raise UserError(f"--policy expects some of {', '.join(known)}, but got {name!r}." + nearest(name, known))
    return chosen


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


def _ends(spec: Mapping[str, Any]) -> list[Any]:
    if "width" in spec:
        return [[spec["width"][side]] * spec["depth"][side] for side in (0, -1)]
    return spec.get("choices") or [spec["low"], spec["high"]]
