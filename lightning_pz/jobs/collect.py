"""The collect job: make or find a pool, and show what it holds."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from lightning_pz.common.console import show_end
from lightning_pz.common.executors import Engine, open_executor
from lightning_pz.common.processes import available_cores, interrupted_by_signals
from lightning_pz.common.tracking.settings import Loggers
from lightning_pz.doors.archive_recipe import ArchiveRecipe, pool_of_archive
from lightning_pz.envs.policy_layout import policy_layout
from lightning_pz.envs.presets import EnvConfig, PolicyConfig
from lightning_pz.envs.specs import env_spec, env_words
from lightning_pz.growth.loop import grow
from lightning_pz.pool.entropies import entropy_words, mean_entropies
from lightning_pz.pool.grown_recipe import GrownRecipe
from lightning_pz.pool.next_step import fit_command
from lightning_pz.pool.recipe import RandomRecipe, collect
from lightning_pz.pool.recipe_identity import pool_folder
from lightning_pz.pool.store import Pool


def collect_pool(
    env: EnvConfig,
    policy: PolicyConfig,
    recipe: RandomRecipe | GrownRecipe | ArchiveRecipe,
    logs: str,
    pool: str | None = None,
    engine: Engine = Engine(),  # noqa: B008  frozen
    loggers: Loggers = Loggers(),  # noqa: B008  frozen
) -> Pool:
    """Make the pool (named by its recipe if no folder is given) unless it is there, and print its numbers and what to do next.

    The work is done in this process if `engine` is local and names no number of workers.
    """
    spec = env_spec(env.id, env.horizon, env.kwargs)
    layout = policy_layout(spec, policy)
    folder = Path(pool) if pool else pool_folder(Path(logs) / "pools", env.name, policy.name, spec, layout, recipe)
    found = folder.exists()
    with _workers(None if found else engine, Path(logs)) as executor:
        if isinstance(recipe, GrownRecipe):
            groups = _groups(engine, recipe.directions)
            made = grow(folder, spec, layout, recipe, executor=executor, groups=groups, loggers=loggers)
        elif isinstance(recipe, ArchiveRecipe):
            made = pool_of_archive(folder, spec, layout, recipe)
        else:
            made = collect(folder, spec, layout, recipe, executor=executor)
    if isinstance(recipe, GrownRecipe):
        rows = _grown_rows(made.meta)
    elif isinstance(recipe, ArchiveRecipe):
        by = made.meta["archive"]["standardized_by"]
        rows = {
            "policies of the archive": f"{made.meta['candidates']:,}",
            "behave differently": f"{made.meta['distinct']:,}",
            "observations": "as they are" if by is None else f"standardized as {by} says",
        }
    else:
        rows = {
            "candidates": f"{made.meta['candidates']:,}",
            "behave differently": f"{made.meta['distinct']:,}",
            "kept": f"{made.meta['kept']:,}",
            "novelty contrast": "none" if (contrast := made.meta["novelty_contrast"]) is None else f"{contrast:.3f}",
        }
    rows = {"environment": env_words(spec.to_dict()), "weights per policy": f"{layout.num_params:,}", **rows}
    rows |= entropy_words(mean_entropies(made))
    rows["seconds"] = "was there already" if found else f"{made.meta['collect_seconds']:.0f}"
    show_end(rows, fit_command(env, policy, logs, made), folder)
    return made


@contextlib.contextmanager
def _workers(engine: Engine | None, logs: Path) -> Iterator[Executor | None]:
    if engine is None or (engine.on == "local" and engine.workers is None):
        yield None
        return
    with interrupted_by_signals(), open_executor(engine, logs) as executor:
        yield executor


def _groups(engine: Engine, directions: int) -> int:
    """Return how many groups a round is cut into: one for each worker, or for each direction where it is not known."""
    if engine.workers is not None:
        return engine.workers
    return available_cores() if engine.is_one_machine else directions


def _grown_rows(meta: dict[str, Any]) -> dict[str, str]:
    growth = meta["growth"]
    first, last = growth["history"][0], growth["history"][-1]
    steps = f"{growth['steps']:,}"
    if "state_steps" in growth:  # earlier versions did not count them
        steps += f", and {growth['state_steps']:,} for the state sample"
    rows = {
        "environment steps": steps,
        "rounds": str(growth["rounds"]),
        "policies played": f"{growth['played']:,}",
        "kept": f"{meta['kept']:,}",
        "coverage (sd of random policies)": f"{first['coverage']:.1f} -> {last['coverage']:.1f}",
        "effective dimension of outcomes": f"{first['effective_dimension']:.1f} -> {last['effective_dimension']:.1f}",
    }
    if growth["left_out"]:
        rows["constant, left out"] = ", ".join(growth["left_out"])
    for task in growth["tasks"]:
        rows[f"best {task} (report only)"] = f"{first[f'ceiling/{task}']:.0f} -> {last[f'ceiling/{task}']:.0f}"
    return rows
