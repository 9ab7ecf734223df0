"""The ranking job: a grown pool and tasks in; for each task a table, a figure and the best policy out."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lightning_pz.common.console import show_end
from lightning_pz.common.files import alone, safe_name, write_json, write_text
from lightning_pz.common.known_folders import Identity
from lightning_pz.common.plotting import save_figure
from lightning_pz.common.tables import Table
from lightning_pz.envs.presets import env_name
from lightning_pz.envs.specs import EnvSpec, env_words
from lightning_pz.envs.tasks import task_names
from lightning_pz.evaluation.ranking_figure import ranking_figure
from lightning_pz.evaluation.video import film
from lightning_pz.policy.saved import SavedPolicy, policy_file
from lightning_pz.pool.store import Pool, read_pool
from lightning_pz.replay.ranking import Ranking, find_ranking, ranking_identity
from lightning_pz.replay.replay_episodes import growth_recipe, growth_seeds

_SHOWN = 5


def rank_and_show(
    folder: Path, tasks: Sequence[str], logs: Path, threads: int, *, video: bool = False
) -> list[Ranking]:  # fmt: skip
    """Rank a grown pool on each task and print the best; a folder for each is left in `<logs>/evaluate/<env>`."""
    pool = read_pool(folder)
    env_id = pool.meta["env"]["id"]
    names = [name for word in tasks for name in (task_names(env_id) if word == "all" else word.split(","))]
    rankings, places = [], []
    for task in dict.fromkeys(names):
        rankings.append(find_ranking(pool, task, logs / "rankings", threads=threads))
        places.append(_write(pool, rankings[-1], logs))
        if video:
            path, why = _film(pool, rankings[-1], places[-1])
            print(f"  video of {task}: {path or 'none, ' + why}")
    rows = [[r.task, place + 1, *_row(pool, r, place)] for r in rankings for place in range(min(_SHOWN, len(r.rows)))]
    header = ["task", "rank", "policy", "return", "expected", "steps", "round"]
    table = Table(header, rows, {"return": ".2f", "expected": ".2f"})
    start = shlex.join(["--start", "pool_best", "--task", ",".join(r.task for r in rankings)])
    values = {
        "environment": env_words(pool.meta["env"]), "pool": f"{len(pool):,} policies, {folder}",
        "replayed": ", ".join(f"{r.replayed:,} for {r.task}" if r.replayed else f"none for {r.task}" for r in rankings),
        "environment steps": "0: all was seen in the growth",
    }  # fmt: skip
    checkpoint = _fit_of(pool, logs)
    show_end(
        values,
        f"python -m lightning_pz.finetune --checkpoint {checkpoint} {start}",
        places[0] if len(places) == 1 else places[0].parent,
        tables=[table],
    )
    return rankings


def _row(pool: Pool, ranking: Ranking, place: int) -> list[int | float | None]:
    """Return policy, return, what was expected of it, steps of its episode, and round of the growth that found it."""
    row, expected = int(ranking.rows[place]), float(ranking.expected[place])
    told = expected if np.isfinite(expected) else None
    kept = pool.arrays
    return [row, float(ranking.returns[place]), told, int(kept["lengths"][row]), int(kept["rounds"][row])]


def _write(pool: Pool, ranking: Ranking, logs: Path) -> Path:
    """Write table, figure, best policy and summary of a ranking, and return their folder."""
    identity = Identity(ranking_identity(pool, ranking.task))
    folder = logs / "evaluate" / env_name(pool.meta["env"]["id"])
    folder = folder / f"ranking-{safe_name(ranking.task)}-{identity.digest[:8]}"
    with alone(folder):
        identity.write(folder)
        rows = [[place + 1, *_row(pool, ranking, place)] for place in range(len(ranking.rows))]
        table = Table(["rank", "policy", "return", "expected", "steps", "round"], rows)
        write_text(folder / "ranking.csv", table.csv())
        save_figure(ranking_figure(pool, ranking), folder / "figures" / "ranking")
        best = int(ranking.rows[0])
        SavedPolicy.of(pool.network, pool.params(np.array([best]))[0]).save(folder / policy_file(ranking.task))
        summary = {
            "env": pool.meta["env"]["id"], "pool": str(pool.folder), "task": ranking.task, "policies": len(pool),
            "best_policy": best, "best_return": float(ranking.returns[0]), "replayed": ranking.replayed,
            "explained": ranking.explained, "env_steps": 0,
        }  # fmt: skip
        write_json(folder / "summary.json", summary)
    return folder


def _film(pool: Pool, ranking: Ranking, folder: Path) -> tuple[Path | None, str]:
    """Film the very episode by which the best policy was ranked."""
    best, spec = ranking.rows[:1], EnvSpec.from_dict(pool.meta["env"])
    spec = dataclasses.replace(spec, horizon=growth_recipe(pool).episode_steps(spec.horizon))
    return film(pool.network, pool.params(best)[0], spec, growth_seeds(pool, best)[0], folder / "videos" / "best")


def _fit_of(pool: Pool, logs: Path) -> str:
    """Return the checkpoint of a fit on a pool, where there is one, or a name that stands for it."""
    for path in sorted((logs / "fit").glob("*/*/summary.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            summary = json.loads(path.read_text())
            if Path(summary["pool"]).resolve() == pool.folder.resolve() and Path(summary["checkpoint"]).is_file():
                return shlex.quote(summary["checkpoint"])
    return "CHECKPOINT_OF_A_FIT_ON_THIS_POOL"
