"""Grows a pool: random policies first, then round after round, and in the end a pool folder.

After a kill the same command resumes from the last whole round, to the same pool.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from lightning_pz.common.checks import check_extra
from lightning_pz.common.errors import UserError
from lightning_pz.common.files import new_folder
from lightning_pz.common.progress import ProgressBar
from lightning_pz.common.threads import one_thread
from lightning_pz.common.tracking.settings import Loggers
from lightning_pz.common.tracking.tracker import Tracker
from lightning_pz.envs.specs import EnvSpec
from lightning_pz.envs.tasks import TaskFunction, find_tasks
from lightning_pz.growth import figures as report
from lightning_pz.growth.resume import load_growth, save_growth, working_folder
from lightning_pz.growth.rounds import Grower, Growth
from lightning_pz.growth.write_pool import pool_bytes, write_pool
from lightning_pz.policy import Layout, PolicyNetwork
from lightning_pz.pool.grown_recipe import GrownRecipe
from lightning_pz.pool.recipe_identity import find_or_make, pool_identity
from lightning_pz.pool.states import sample_states
from lightning_pz.pool.store import Pool

Tasks = Mapping[str, TaskFunction]


def grow(
    folder: Path,
    spec: EnvSpec,
    layout: Layout,
    recipe: GrownRecipe,
    *,
    tasks: Tasks | None = None,
    progress: bool | None = None,
    executor: Executor | None = None,
    groups: int = 1,
    loggers: Loggers = Loggers(),  # noqa: B008  frozen
) -> Pool:
    """Grow the pool unless it is there already, and open it; an unfinished growth is kept beside its folder.

    Returns in `tasks`, all named ones of the environment if None, are recorded for the report alone. Progress is shown by
    default only on a terminal. An executor runs so many groups of each round side by side; the pool is the same. Each round
    goes to `loggers`.

    Raises:
        UserError: Too few steps, outcomes that are all the same, an unfinished growth of other settings, a full disk.
    """
    check_growth(folder, spec, recipe)

    def make() -> None:
        with one_thread():
            named = find_tasks(spec.id) if tasks is None else tasks
            _make(folder, spec, layout, recipe, named, progress, executor, groups, loggers)

    pool = find_or_make(folder, spec, layout, recipe, make)
    shutil.rmtree(working_folder(folder), ignore_errors=True)
    return pool


def check_growth(folder: Path, spec: EnvSpec, recipe: GrownRecipe) -> None:
    """Raise `UserError` for steps that hold no round, or a package that is missing, unless the pool is there already."""
    if folder.exists():
        return
    packages = {"cmaes": ("cma", "cmaes"), "iso_line": ("ribs", "qd")}
    if recipe.emitter in packages:
        check_extra(*packages[recipe.emitter], f"--emitter {recipe.emitter}")
    first, each = recipe.first * recipe.episode_steps(spec.horizon), recipe.round_cost(spec.horizon)
    if recipe.steps < first + each:
        raise UserError(
            f"--steps {recipe.steps} is less than the first policies and one round may take, {first} + {each} environment "
            "steps: raise --steps, or lower --first, --directions, --population, --generations or --horizon"
        )


def _make(
    folder: Path,
    spec: EnvSpec,
    layout: Layout,
    recipe: GrownRecipe,
    tasks: Tasks,
    progress: bool | None,
    executor: Executor | None,
    groups: int,
    loggers: Loggers,
) -> None:
    started = time.perf_counter()
    sample = sample_states(spec, recipe.states, layout, recipe.prior, recipe.seed, progress=progress)
    network = PolicyNetwork(layout, sample.mean, sample.std, *map(torch.tensor, (spec.action_low, spec.action_high)))
    working = working_folder(folder)
    identity = {**pool_identity(spec, layout, recipe), "tasks": list(tasks)}
    history: list[dict[str, Any]] = []
    found = load_growth(working, identity)
    if found is not None:
        history = found[1]["history"]
        started -= found[1]["seconds"]
    purge_step = history[-1]["steps"] + 1 if history else None
    settings = {"env": spec.id, "params_per_policy": layout.num_params, **asdict(recipe)}
    with (
        ProgressBar(total=recipe.steps, desc="growth", unit="step", unit_scale=True, progress=progress) as bar,
        Tracker.of(loggers, working / report.LOGGED, purge_step, settings, folder) as tracker,
    ):
        grower = Grower(spec, network, recipe, sample, tasks, bar.update, executor, groups)
        scales = grower.embedding.scales

        def keep(growth: Growth) -> Growth:
            history.append(report.history_row(growth, list(tasks), scales))
            report.log_round(tracker, growth, history[-1], scales)
            seconds = round(time.perf_counter() - started, 2)
            save_growth(working, growth, {"history": history, "seconds": seconds}, identity)
            return growth

        if found is not None:
            growth = found[0]
            bar.update(growth.steps)
        else:
            growth = keep(grower.begin())
        while True:
            bar.set_postfix(round=growth.rounds, coverage=f"{history[-1]['coverage']:.1f}")
            if not grower.can_afford_round(growth):
                break
            growth = keep(grower.round(growth))
    with new_folder(folder, pool_bytes(layout, recipe)) as temporary:
        about = {"tasks": list(tasks), "history": history, "seconds": round(time.perf_counter() - started, 2)}
        write_pool(temporary, growth, spec, network, recipe, sample, grower.embedding, about, progress)
        report.write_figures(working, temporary, growth, history, spec.id, scales)
