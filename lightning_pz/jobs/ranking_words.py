"""What can be refused of `evaluate --pool POOL --task NAME` before torch is imported."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from lightning_pz.common.errors import UserError
from lightning_pz.jobs.finetune_settings import check_task
from lightning_pz.pool.unplayed import unplayed


def check_ranking(pool: str | None, tasks: Sequence[str], env_id: str | None, rest: Sequence[str]) -> None:
    """Raise `UserError` unless a grown pool is to be ranked on tasks of its environment; `rest` is the rest of the command."""
    if pool is None:
        raise UserError("--task ranks the policies of a pool, but which? Give --pool with its folder, logs/pools/NAME")
    if not tasks:
        raise UserError(
            "--pool without --checkpoint ranks its policies, but on which task? Give --task with names, or "
            "mypackage.module:function"
        )
    for word in rest:
        if word.split("=")[0] in ("--tasks", "--elsewhere"):
            raise UserError(f"{word.split('=')[0]} goes with --checkpoint: leave it out, or give one")
    path = Path(pool) / "pool.json"
    if not path.is_file():
        raise UserError(f"--pool expects the folder of a pool, but there is no pool.json in {pool}")
    try:
        meta = json.loads(path.read_text())
        found, recipe = str(meta["env"]["id"]), meta.get("recipe")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no pool description: make the pool again, or give another --pool") from error
    if env_id is not None and env_id != found:
        raise UserError(f"--env asks for {env_id}, but {pool} is a pool for {found}: leave --env out, or give its pool")
    if recipe != "grown":
        raise UserError(
            f"{pool} {unplayed(meta)}, so there is nothing to rank them by: give a grown "
            "pool (python -m lightning_pz.collect --recipe grown)"
        )
    for task in tasks:
        check_task(found, task)
