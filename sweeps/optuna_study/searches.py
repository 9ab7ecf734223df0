"""Studies that are a file in `conf/sweep/`: refuses what it can before torch is imported, then runs them."""

from __future__ import annotations

import dataclasses
import json
import re
import socket
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lightning_pz.common.command_line import flat_settings
from lightning_pz.common.errors import UserError
from lightning_pz.common.identity import digest
from lightning_pz.envs.presets import resolve_env
from sweeps.fits import Fit
from sweeps.folders import grid_path
from sweeps.options import NO_ENVIRONMENT, URL_EXPECTED, SearchOptions
from sweeps.optuna_study.plan import UNSAID, StudyPlan, choose_policies, load_plan
from sweeps.optuna_study.reading import from_plain, read_sections

_PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306}
_PATIENCE = 8.0  # seconds in which a host must answer


@dataclass(frozen=True)
class StudyRun:
    """One study on one environment, as the command line asks for it."""

    study: str  # its name
    env: str  # preset or Gymnasium id
    env_name: str  # its short name
    source: Path  # the file of the plan
    plan: StudyPlan
    policies: list[str]  # which of its policy sizes
    options: SearchOptions

    @property
    def name(self) -> str:
        """Name of the study in its storage, and of its folder."""
        return f"{self.study}-{self.env_name}"

    @property
    def folder(self) -> Path:
        """Folder of journal and tables."""
        return Path(self.options.logs) / "sweeps" / self.name

    @property
    def trials(self) -> int:
        """Trials in all, where the sampler is TPE."""
        return self.options.trials or self.plan.trials

    def make_fit(self, point: Mapping[str, Any]) -> Fit:
        """Return the fit of a point (policy, seed_everything and every searched key), its folder named by its settings."""
        policy, own = point["policy"], {key: value for key, value in point.items() if key != "policy"}
        settings = {**self.plan.fit, **self.plan.policies.get(policy, {}), **own}
        varied = {key: value for key, value in own.items() if key not in ("seed_everything", "model.latent_dim")}
        parts = [digest(varied)[:8]]
        if self.plan.sampler == "grid":
            last = Counter(key.rsplit(".", 1)[-1] for key in varied)
            names = {key: short if last[short := key.rsplit(".", 1)[-1]] == 1 else key for key in varied}
            parts = [f"{names[key]}-{_folder_text(value)}" for key, value in varied.items()]
        k = settings.get("model.latent_dim")
        parts = [self.study, policy, *([] if k is None else [f"k{k}"]), *parts, f"seed{point['seed_everything']}"]
        return Fit("-".join(parts), self.env, self.env_name, policy, settings, self.options.logs)

    def fit_settings(self) -> dict[str, Any]:
        """Return the settings of all fits, with those for pools that the environment's preset adds where they have none."""
        own, preset = self.plan.fit, flat_settings(resolve_env(self.env).get("fit", {}))
        added = {key: preset[key] for key in UNSAID if key in preset and key not in self.plan.search}
        if (added | own).get("data.recipe") == "random":
            added.pop("data.grown.steps", None)  # of pools that such fits do not have
        return added | own

    def finetune_arguments(self, checkpoint: Path) -> list[str]:
        """Return the arguments of `finetune` for a decoder."""
        own = {"checkpoint": checkpoint, "logs": self.options.logs, "workers": 1, "progress": "false"}
        return [f"--{key}={value}" for key, value in (own | (self.plan.finetune or {})).items()]


def run(study: str, options: SearchOptions) -> None:
    """Run or join a study, named as its file in `conf/sweep/`; Ctrl-C keeps finished trials, and the others wait."""
    runs = study_runs(study, options)
    if options.storage is not None:
        _check_answers(options.storage)
    from sweeps.optuna_study.command import run_all  # it imports torch

    run_all(runs)


def _check_answers(url: str) -> None:
    """Raise `UserError` if a URL names a host and a port at which nothing answers."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme.partition("+")[0])
    except ValueError as error:
        raise UserError(f"{URL_EXPECTED}{url}: {error}") from error
    if host and port:
        try:
            socket.create_connection((host, port), timeout=_PATIENCE).close()
        except OSError as error:
            raise UserError(f"{URL_EXPECTED}{url}: nothing answers at {host}, port {port} ({error})") from error


def study_runs(study: str, options: SearchOptions) -> list[StudyRun]:
    """Return the study on every environment that is asked for; a `UserError` says that there is none."""
    path = grid_path(study, options.grid)
    text = read_sections(path, None, ("environments",))[1]
    listed = from_plain(list[str], text.get("environments", []), f"{path}: environments")
    if not (asked := listed if options.env is None else [options.env]):
        raise UserError(NO_ENVIRONMENT)
    runs = []
    for env in dict.fromkeys(asked):
        name = resolve_env(env)["env"]["name"]
        plan = load_plan(path, name)
        policies = choose_policies(plan, options.policy)
        if plan.sampler == "tpe":
            plan = dataclasses.replace(plan, policies={policy: plan.policies.get(policy, {}) for policy in policies})
        runs.append(StudyRun(study, env, name, path, plan, policies, options))
    return runs


def _folder_text(value: Any) -> str:
    """Return a value for a folder's name, with a digest where letters, digits, dots and inner hyphens are not enough."""
    text = value if isinstance(value, str) else json.dumps(value)
    short = re.sub(r"[^a-zA-Z0-9_.]+", "-", text).strip("-.")
    listed = f"[{short.replace('-', ', ')}]"
    return short if short and text in (short, listed) else f"{short}-{digest(value)[:8]}".strip("-")
