"""Studies that are a file in `conf/sweep/`: everything that can be refused without torch, and then the work."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from lightning_pz.common.errors import UserError
from lightning_pz.envs.presets import resolve_env
from sweeps.folders import grid_path
from sweeps.options import SearchOptions
from sweeps.optuna_study.plan import Plan, choose_policies, load_plan, read_study


@dataclass(frozen=True)
class Asked:
    """One study on one environment, as asked for.

    Attributes:
        study: Its name.
        env: Preset or Gymnasium id.
        env_name: Its short name.
        source: The file of the plan.
        plan: What it varies.
        policies: Which of its policy sizes.
        options: Of the command line.
    """

    study: str
    env: str
    env_name: str
    source: Path
    plan: Plan
    policies: list[str]
    options: SearchOptions


def run(study: str, options: SearchOptions) -> None:
    """Run or join a study.

    Args:
        study: Name of its file in `conf/sweep/`.
        options: Of the command line.

    Raises:
        UserError: Something that no trial could mend; nothing has been run then.
        KeyboardInterrupt: Finished trials are kept, the others wait.
    """
    asked = read(study, options)
    from sweeps.optuna_study.command import run_all

    run_all(asked)


def read(study: str, options: SearchOptions) -> list[Asked]:
    """Return the study on every environment that was asked for.

    Raises:
        UserError: No environment, or a file with a mistake.
    """
    path = grid_path(study, options.grid)
    listed = read_study(path).get("environments", []) if options.env is None else [options.env]
    if not listed:
        raise UserError("which environment? Give --env with a preset or a Gymnasium id")
    return [_asked(study, env, path, options) for env in dict.fromkeys(listed)]


def _asked(study: str, env: str, path: Path, options: SearchOptions) -> Asked:
    name = resolve_env(env)["env"]["name"]
    plan = load_plan(path, name)
    policies = choose_policies(plan, options.policy)
    if plan.sampler == "tpe":
        plan = dataclasses.replace(plan, policies={policy: plan.policies.get(policy, {}) for policy in policies})
    return Asked(study, env, name, path, plan, policies, options)
