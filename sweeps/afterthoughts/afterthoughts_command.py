"""What a few replays choose from grown pools for tasks that nobody thought of, beside the best of all their policies.

`python -m sweeps afterthought --pool logs/pools/NAME ...` leaves in `logs/sweeps/afterthought-...` `table.csv` and
`table.md`: a row for each pool and task. Replaying all 20,000 policies of a HalfCheetah pool takes about four minutes of one
core, once for a pool and its tasks; each choice takes about 23 seconds of it.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_pz.common.console import is_terminal
from lightning_pz.common.errors import UserError
from lightning_pz.common.files import alone, replacing, safe_name, write_json, write_text
from lightning_pz.common.identity import digest
from lightning_pz.common.processes import available_cores
from lightning_pz.common.tables import Table
from sweeps.afterthoughts.cheetah_tasks import AFTERTHOUGHTS
from sweeps.folders import tables_folder
from sweeps.options import AfterthoughtOptions

if TYPE_CHECKING:
    from lightning_pz.envs.tasks import TaskFunction
    from lightning_pz.pool.store import Pool

_HEADER = (
    "pool", "task", "policies", "median", "best", "chosen", "below", "place", "replayed", "seconds", "cpu_seconds", "whole",
)  # fmt: skip
_WHOLE_EPISODES = 10
_EXPLAINED = (
    "Returns of growth episodes: the median policy, the best of all (every policy replayed), the one that a few replays chose, "
    "how far it lies below the best, and its place among all. `whole` is the mean of the chosen one over "
    f"{_WHOLE_EPISODES} whole episodes of the environment, on seeds that chose nothing."
)


def run(study: str, options: AfterthoughtOptions) -> None:
    """Choose, replay all, and leave the tables."""
    pools = _open(options)
    tasks = options.task or [f"{one.__module__}:{one.__name__}" for one in AFTERTHOUGHTS]
    content = [[pool.digest for pool in pools], list(tasks)]
    folder = tables_folder(options.logs, study, [], {"content": content})
    rows = [row for pool in pools for row in _rows(pool, tasks, Path(options.logs) / "sweeps" / study)]
    write_text(folder / "table.csv", Table(list(_HEADER), rows).csv())
    short = [[row[0], row[1].rpartition(":")[2], *row[2:]] for row in rows]
    formats = dict.fromkeys(("median", "best", "chosen", "whole"), ".1f")
    formats |= {"below": ".1%", "seconds": ".0f", "cpu_seconds": ".0f"}
    text = Table(list(_HEADER), short, formats).markdown()
    write_text(folder / "table.md", f"{text}\n{_EXPLAINED}\n")
    close = sum(row[_HEADER.index("below")] <= 0.02 for row in rows)
    print(f"{text}\n{close} of {len(rows)} choices lie within 2 % of the best\n\n{folder}")


def _open(options: AfterthoughtOptions) -> list[Pool]:
    from lightning_pz.pool.store import read_pool

    pools = [read_pool(Path(folder)) for folder in options.pool]
    for pool in pools:
        if not options.task and not (env_id := pool.meta["env"]["id"]).startswith("HalfCheetah-"):
            raise UserError(
                f"{pool.folder} is a pool for {env_id}, but the study's tasks are for HalfCheetah: give --task"
            )
    return pools


def _rows(pool: Pool, tasks: Sequence[str], folder: Path) -> list[list[Any]]:
    from lightning_pz.envs.tasks import find_task
    from lightning_pz.replay.ranking import rank_pool, ranking_identity

    functions = {task: find_task(pool.meta["env"]["id"], task) for task in tasks}
    returns, rows = exhaustive_returns(pool, functions, folder), []
    for task, column in zip(tasks, returns.T, strict=True):
        path = folder / f"{safe_name(task)}-{digest(ranking_identity(pool, task))[:16]}.json"
        with contextlib.suppress(OSError, ValueError, KeyError):
            rows.append([pool.folder.name, task, *json.loads(path.read_text())["row"]])
            continue
        wall, cpu = time.perf_counter(), time.process_time()
        ranking = rank_pool(pool, task, threads=available_cores(), progress=is_terminal())
        seconds = [round(time.perf_counter() - wall, 2), round(time.process_time() - cpu, 2)]
        best, chosen = float(column.max()), float(ranking.returns[0])
        row: list[Any] = [len(pool), float(np.median(column)), best, chosen, (best - chosen) / max(abs(best), 1e-12)]
        row += [1 + int((column > chosen).sum()), ranking.replayed, *seconds]
        row.append(_whole(pool, int(ranking.rows[0]), functions[task]))
        write_json(path, {"row": row})
        rows.append([pool.folder.name, task, *row])
        print(f"{pool.folder.name}, {task}: {chosen:.4g} of {best:.4g}, {seconds[0]:.0f} s", flush=True)
    return rows


def exhaustive_returns(pool: Pool, functions: dict[str, TaskFunction], folder: Path) -> np.ndarray:
    """Return the returns of all policies of a pool on some tasks, (N, T), replayed once and then read from the folder."""
    from lightning_pz.common.threads import one_thread
    from lightning_pz.replay.ranking import ranking_identity
    from lightning_pz.replay.replay_episodes import replayed_returns

    # How policies are chosen decides nothing here.
    decides = [{**ranking_identity(pool, task), "settings": None} for task in functions]
    path = folder / f"all-{digest(decides)[:16]}.npy"
    with alone(path):
        with contextlib.suppress(OSError, ValueError, EOFError):
            return np.load(path)
        print(f"{pool.folder.name}: {len(pool):,} policies are replayed", flush=True)
        with one_thread():
            found = replayed_returns(pool, np.arange(len(pool)), functions, threads=available_cores())
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.save(file, found)
        return found


def _whole(pool: Pool, row: int, task: TaskFunction) -> float:
    from lightning_pz.envs.episode_seeds import TEST_SEEDS
    from lightning_pz.envs.rollout import rollout
    from lightning_pz.envs.specs import EnvSpec

    spec, seeds = EnvSpec.from_dict(pool.meta["env"]), range(TEST_SEEDS, TEST_SEEDS + _WHOLE_EPISODES)
    played = rollout(pool.network, pool.params(np.array([row])), spec, seeds, {"task": task})
    return float(played.returns["task"].mean())
