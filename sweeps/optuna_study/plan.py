"""Reads the file of a study: what it varies, as points of a grid or as ranges to search."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lightning_pz.common.checks import LARGEST_SEED, plain_name
from lightning_pz.common.errors import UserError, nearest
from lightning_pz.envs.presets import preset_names
from sweeps.optuna_study.ranges import check_range
from sweeps.optuna_study.reading import (
    check_filled,
    check_seed_list,
    errors_from,
    from_plain,
    read_sections,
    whole_numbers,
)

SUMMARY_METRICS = ("test_fvu", "val_fvu", "train_fvu", "fit_seconds")
"""Keys of every fit's summary that a study may minimize; nested fits have `test_fvu_k<size>` for each size as well."""


@dataclass(frozen=True)
class Confirm:
    """How the best few of a search are measured again, by their test FVU.

    Args:
        best: How many of them, beside the settings that the search began from.
        seeds: Training seeds that the search did not see, the same for each candidate.
        p_threshold: A candidate stops once a Wilcoxon signed-rank test over the seeds says it is worse.
    """

    best: int
    seeds: list[int]
    p_threshold: float = 0.1

    def __post_init__(self) -> None:
        whole_numbers({"best": self.best}, 1)
        check_seed_list(self.seeds)
        if not 0 < self.p_threshold < 1:
            raise UserError(f"p_threshold expects a number between 0 and 1, but got {self.p_threshold}")


@dataclass(frozen=True)
class StudyPlan:
    """What a study varies and what stays the same.

    Args:
        search: By dotted key of `fit`: a list of values (grid), or `{low, high, log, step}`, `{choices}` or
            `{width, depth}` (tpe), the last for a list of equal hidden widths.
        policies: Policy presets, each with settings of `fit` that hold for it alone; a name that is no preset needs
            `policy.hidden`.
        seeds: Training seeds; `tpe` searches with the first.
        fit: Settings of `fit` that stay the same.
        sampler: `grid` (every combination once) or `tpe`.
        metric: Key of a fit's summary that is a trial's value, the smaller the better.
        trials: Trials of `tpe`.
        pruner: `none`, or `median`: a trial stops whose held-out FVU is worse than the median at that step.
        pruner_startup: Finished trials before any is stopped.
        pruner_warmup: Training steps before a trial may be stopped.
        seed: Seed of the sampler.
        confirm: How the best few are confirmed; not at all if null.
        finetune: Settings of `finetune`; the value is then the mean return of its searches, the larger the better.
    """

    search: dict[str, Any]
    policies: dict[str, dict[str, Any]]
    seeds: list[int]
    fit: dict[str, Any] = field(default_factory=dict)
    sampler: Literal["grid", "tpe"] = "grid"
    metric: str = "test_fvu"
    trials: int = 30
    pruner: Literal["none", "median"] = "none"
    pruner_startup: int = 5
    pruner_warmup: int = 0
    seed: int = 0
    confirm: Confirm | None = None
    finetune: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        check_filled({"search": self.search, "policies": self.policies})
        check_seed_list(self.seeds)
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
        for key, given in (("pruner", self.pruner != "none"), ("confirm", self.confirm is not None)):
            if self.finetune is not None and given:
                raise UserError(f"{key} judges fits by FVU, so it cannot stand beside finetune: leave one out")
        if self.confirm is not None and (both := sorted(set(self.confirm.seeds) & set(self.seeds))):
            raise UserError(f"confirm expects seeds that the search does not see, but {both} are in both")
        for key, spec in self.search.items():
            if key in ("policy", "seed_everything"):
                raise UserError(f"search cannot vary {key}: list it in {'policies' if key == 'policy' else 'seeds'}")
            with errors_from(f"search.{key}"):
                check_range(spec, self.sampler)

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
    """Read a study and its settings for one environment.

    Raises:
        UserError: The file does not exist, or has unknown keys or unusable values.
    """
    settings, _ = read_sections(path, env_name, ("environments",))
    if settings.get("finetune") is not None and "metric" in settings:
        raise UserError(f"{path}: metric is of no use beside finetune, whose value is the mean return: leave one out")
    return from_plain(StudyPlan, settings, f"{path}: a study")


def choose_policies(plan: StudyPlan, asked: str | None) -> list[str]:
    """Return the policies of a study, or those that `--policy small,medium` picks.

    Raises:
        UserError: One that is neither of the study nor a preset.
    """
    if asked is None:
        return list(plan.policies)
    known = sorted({*plan.policies, *preset_names("policy")})
    chosen = asked.split(",")
    for name in chosen:
        if name not in known:
            raise UserError(f"--policy expects some of {', '.join(known)}, but got {name!r}." + nearest(name, known))
    return list(dict.fromkeys(chosen))


def _ends(spec: Mapping[str, Any]) -> list[Any]:
    if "width" in spec:
        return [[spec["width"][side]] * spec["depth"][side] for side in (0, -1)]
    return spec.get("choices") or [spec["low"], spec["high"]]
