"""Ranks the policies of a grown pool on any task, at no environment step: few are replayed, and those decide.

A task that the pool knows is ranked by the returns that it keeps. For any other, the episodes of a random sample are
replayed, a ridge regression on what is stored of every policy learns their returns, the best predicted are replayed, and so
on for a few rounds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from lightning_pz.common.files import alone, replacing, safe_name
from lightning_pz.common.identity import digest
from lightning_pz.common.progress import ProgressBar
from lightning_pz.envs.episode_identity import environment_identity, task_sources, versions
from lightning_pz.envs.tasks import find_task
from lightning_pz.pool.best import best_of_pool
from lightning_pz.pool.store import Pool
from lightning_pz.replay.policy_features import policy_features, ridge_regression
from lightning_pz.replay.replay_episodes import growth_recipe, replayed_returns

_VERSION = 1
"""Of this way to rank; a result of another one is not found again."""


@dataclass(frozen=True)
class RankingSettings:
    """How many episodes are replayed, in all `first + rounds * each`, or as many as there are."""

    first: int = 256  # policies of the random sample
    rounds: int = 7
    each: int = 256  # best predicted policies of a round
    seed: int = 0  # of the sample


@dataclass(frozen=True)
class Ranking:
    """Policies of a pool by what their own episodes earn on a task."""

    task: str
    rows: Int[
        np.ndarray, " ranked"
    ]  # of the policies whose returns are exact, the best first; of equals the oldest first
    returns: Float[np.ndarray, " ranked"]  # exact, undiscounted, of one episode each
    expected: Float[np.ndarray, " ranked"]  # what the regression said before it was replayed; NaN: was not asked
    values: Float[np.ndarray, " policies"]  # of all policies of the pool: exact returns, and predictions for the others
    explained: float  # share of the variance of replayed returns that the last regression explains; NaN without one
    replayed: int  # policies; 0 for a task that the pool knows


def rank_pool(
    pool: Pool,
    task: str,
    *,
    settings: RankingSettings | None = None,
    threads: int = 1,
    progress: bool | None = None,
) -> Ranking:
    """Rank a grown pool on any task, named or `mypackage.module:function`; equal calls give equal rankings.

    Raises `UserError` as `replayed_returns` does: a random pool, a task that raises or is not finite, an episode that is not
    that of the growth.
    """
    if not needs_replay(pool, task):
        rows = best_of_pool(pool, task, len(pool))
        returns = np.array(pool.arrays["returns"][:, pool.meta["growth"]["tasks"].index(task)])
        return Ranking(task, rows, returns[rows], np.full(len(rows), np.nan), returns, np.nan, 0)
    recipe, how = growth_recipe(pool), settings or RankingSettings()
    function, features = find_task(pool.meta["env"]["id"], task), policy_features(pool)
    generator = np.random.default_rng(np.random.SeedSequence(recipe.seed, spawn_key=(8, how.seed)))
    chosen = generator.permutation(len(pool))[: how.first]
    values, expected = np.full(len(pool), np.nan), np.full(len(pool), np.nan)
    rows, explained = chosen[:0], np.nan
    total = min(len(pool), how.first + how.rounds * how.each)
    with ProgressBar(total=total, desc=f"replay for {task}", unit="episode", progress=progress) as bar:
        for number in range(how.rounds + 1):
            values[chosen] = replayed_returns(pool, chosen, {task: function}, threads=threads, on_ended=bar.update)[
                :, 0
            ]
            rows = np.concatenate([rows, chosen])
            fit = ridge_regression(features, rows, values[rows])
            others = np.setdiff1d(np.arange(len(pool)), rows)
            explained = fit.explained
            if number == how.rounds or not len(others):
                break
            chosen = others[np.argsort(-fit.predicted[others], kind="stable")[: how.each]]
            expected[chosen] = fit.predicted[chosen]
    values[others] = fit.predicted[others]
    rows = np.sort(rows)
    rows = rows[np.argsort(-values[rows], kind="stable")]
    return Ranking(task, rows, values[rows], expected[rows], values, explained, len(rows))


def find_ranking(pool: Pool, task: str, folder: Path, *, threads: int = 1, progress: bool | None = None) -> Ranking:
    """Return the ranking that a folder keeps from an equal pool and task, or make it and keep it there.

    One of several processes that ask at once replays, and the others wait. Of a task that the pool knows nothing is kept.
    """
    if not needs_replay(pool, task):
        return rank_pool(pool, task)
    path = folder / f"{safe_name(task)}-{digest(ranking_identity(pool, task))[:16]}.npz"
    if (found := _read(path, task)) is not None:
        return found
    with alone(path):
        if (found := _read(path, task)) is not None:
            return found
        ranking = rank_pool(pool, task, threads=threads, progress=progress)
        arrays: dict[str, Any] = {name: value for name, value in vars(ranking).items() if name != "task"}
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
    return ranking


def needs_replay(pool: Pool, task: str) -> bool:
    """Return whether a grown pool keeps no returns on a task, so that episodes are replayed to rank it."""
    return pool.meta.get("recipe") == "grown" and task not in pool.meta["growth"]["tasks"]


def ranking_identity(pool: Pool, task: str) -> dict[str, Any]:
    """Return all that decides the ranking of a pool on a task, as plain data."""
    env = environment_identity(pool.meta["env"], pool.folder)
    return {
        "pool": pool.digest, "env": env, "task": {task: task_sources(env["id"], [task])[task]}, "versions": versions(env["id"]),
        "settings": ranking_settings(),
    }  # fmt: skip


def ranking_settings() -> dict[str, int]:
    """Return how pools are ranked, as plain data."""
    return {"version": _VERSION, **dataclasses.asdict(RankingSettings())}


def _read(path: Path, task: str) -> Ranking | None:
    missing_or_cut = contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
    with missing_or_cut, path.open("rb") as stored, np.load(stored) as found:
        arrays = {name: found[name] for name in ("rows", "returns", "expected", "values")}
        return Ranking(task, **arrays, explained=float(found["explained"]), replayed=int(found["replayed"]))
    return None
