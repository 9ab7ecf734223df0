"""What a study varies: a file of `conf/sweep/`, read and checked, as points of a grid or as ranges to search."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lightning_pz.common.errors import UserError, nearest
from lightning_pz.common.identity import digest
from lightning_pz.envs.presets import merge, preset_names
from sweeps.fits import Fit
from sweeps.optuna_study.ranges import check_range
from sweeps.optuna_study.reading import LARGEST_SEED, make, plain_name, read_yaml, seeds_of, whole_numbers

METRICS = ("test_fvu", "val_fvu", "train_fvu", "fit_seconds")
"""Keys of every fit's summary that are the better the smaller; nested fits have `test_fvu_k<size>` for each size as well."""


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
        metric: Key of a fit's summary that is told as a trial's value, the smaller the better.
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
    sampler: Literal["grid", "tpe"] = "grid"
    metric: str = "test_fvu"
    trials: int = 30
    pruner: Literal["none", "median"] = "none"
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
            last = Counter(key.rsplit(".", 1)[-1] for key in varied)
            names = {key: short if last[short := key.rsplit(".", 1)[-1]] == 1 else key for key in varied}
            parts = [f"{names[key]}-{_named(value)}" for key, value in varied.items()]
        else:
            parts = [digest(varied)[:8]]
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
        shared |= {"pruner": [self.pruner, self.pruner_startup, self.pruner_warmup]}
        own = {"search": self.search, "seed": self.seed, "training_seed": self.seeds[0]}
        return shared | (own if self.sampler == "tpe" else {})

    def check(self, where: str) -> None:
        """Raise `UserError` for values that no study can have.

        Args:
            where: File of the study, for the message.
        """
        for key in ("search", "policies"):
            if not getattr(self, key):
                raise UserError(f"{where}: a study expects {key!r} with at least one entry, but got none")
        seeds_of(where, self.seeds)
        for name in self.policies:
            plain_name(where, "a name in policies", name)
        whole_numbers(where, {"trials": self.trials}, 1)
        whole_numbers(where, {"pruner_startup": self.pruner_startup, "pruner_warmup": self.pruner_warmup})
        # Each trial's sampler has a seed of its own: this one and the trial's number.
        whole_numbers(where, {"seed": self.seed}, 0, LARGEST_SEED - 2 * self.trials)
        if self.metric not in METRICS and not re.fullmatch(r"test_fvu_k[1-9]\d*", self.metric):
            raise UserError(
                f"{where}: metric expects one of {', '.join(METRICS)}, or test_fvu_k<size> of a nested fit, but got "
                f"{self.metric!r}." + nearest(self.metric, METRICS)
            )
        if self.finetune is not None:
            for key, idle in (("pruner", self.pruner == "none"), ("confirm", self.confirm is None)):
                if not idle:
                    raise UserError(
                        f"{where}: {key} judges fits by FVU, so it cannot stand beside finetune: leave one out"
                    )
        if self.confirm is not None:
            self._check_confirm(f"{where}: confirm", self.confirm)
        for key, spec in self.search.items():
            if key in ("policy", "seed_everything"):
                raise UserError(
                    f"{where}: search cannot vary {key}: list it in {'policies' if key == 'policy' else 'seeds'}"
                )
            check_range(f"{where}: search.{key}", spec, self.sampler)

    def _check_confirm(self, where: str, confirm: Confirm) -> None:
        whole_numbers(where, {"best": confirm.best}, 1)
        seeds_of(where, confirm.seeds)
        if seen := set(confirm.seeds) & set(self.seeds):
            raise UserError(f"{where} expects seeds that the search does not see, but {sorted(seen)} are in both")
        if not 0 < confirm.p_threshold < 1:
            raise UserError(f"{where}: p_threshold expects a number between 0 and 1, but got {confirm.p_threshold}")


def load_plan(path: Path, env_name: str) -> Plan:
    """Read a study and what it says of one environment.

    Raises:
        UserError: No such file, or keys or values that mean nothing.
    """
    text = read_study(path, env_name)
    settings = merge(section(text, "default", path), section(text, env_name, path))
    if settings.get("finetune") is not None and "metric" in settings:
        raise UserError(f"{path}: metric is of no use beside finetune, whose value is the mean return: leave one out")
    plan = make(Plan, settings, f"{path}: a study")
    plan.check(str(path))
    return plan


def read_study(path: Path, env_name: str | None = None) -> dict[str, Any]:
    """Read a study's file: a section `default` and others by environment, perhaps `environments`.

    Args:
        path: The file.
        env_name: Short name of the environment that is asked for, which may have a section.

    Raises:
        UserError: There is none, it is no mapping, or it has a section that means nothing.
    """
    text = read_yaml(path)
    check_sections(path, text, ("default", "environments"), env_name)
    listed = text.get("environments", [])
    if not (isinstance(listed, list) and all(isinstance(name, str) for name in listed)):
        raise UserError(f"{path}: environments expects a list of words, such as [hopper], but got {listed!r}")
    return text


def check_sections(path: Path, text: Mapping[str, Any], own: tuple[str, ...], env_name: str | None) -> None:
    """Raise `UserError` for a section that is neither of the study nor of an environment.

    Environments without a preset end with a version, such as walker2d-v5.
    """
    known = (*own, *preset_names("env"), *([env_name] if env_name else []))
    for key in text:
        if key not in known and not re.search(r"-v\d+(-[0-9a-f]{8})?$", str(key)):
            raise UserError(
                f"{path}: a section is {', '.join(own)} or the short name of an environment, such as hopper or "
                f"walker2d-v5, but got {key!r}." + nearest(str(key), known)
            )


def section(text: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    """Return a section of a study's file, empty if there is none.

    Raises:
        UserError: It is no mapping.
    """
    found = text.get(name)
    if found is not None and not isinstance(found, dict):
        raise UserError(f"{path}: {name} expects a mapping of settings, but got {found!r}")
    return found or {}


def choose_policies(plan: Plan, asked: str | None) -> list[str]:
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
    if "choices" in spec:
        return list(spec["choices"])
    if "width" in spec:
        depths = _ends({"choices": spec["depth"]})
        return [
            [width] * depth
            for width, depth in zip((spec["width"][0], spec["width"][-1]), (depths[0], depths[-1]), strict=True)
        ]
    return [spec["low"], spec["high"]]


def _named(value: Any) -> str:
    """Return a value for a folder's name; what letters, digits, dots and inner hyphens cannot tell apart has a digest."""
    text = value if isinstance(value, str) else json.dumps(value)
    short = re.sub(r"[^a-zA-Z0-9_.]+", "-", text).strip("-.")
    listed = f"[{short.replace('-', ', ')}]"
    return short if short and text in (short, listed) else f"{short}-{digest(value)[:8]}".strip("-")
