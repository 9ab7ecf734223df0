"""Plays the policies at which `finetune --start pool_best` begins, themselves and as the decoder gives them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from lightning_pz.autoencoder.module import BehaviorAutoencoder
from lightning_pz.envs.rollout import rollout
from lightning_pz.envs.specs import EnvSpec
from lightning_pz.envs.tasks import find_tasks
from lightning_pz.evaluation.fresh import FRESH_SEED
from lightning_pz.pool.best import best_of_pool
from lightning_pz.pool.store import Pool

START_EPISODES = 10
"""Episodes of each policy, the first of those on which `finetune` measures what it found."""


@dataclass(frozen=True)
class PoolStart:
    """Returns of the policy of a grown pool that earned most on a task in the episode in which it was found."""

    found: float  # in that episode of the growth, which chose it and may be shorter than the environment's
    own: float  # mean over whole episodes that chose nothing; NaN if one is invalid
    decoded: float  # mean over the same episodes of the policy encoded and decoded; NaN if one is invalid


@torch.no_grad()
def pool_starts(
    model: BehaviorAutoencoder, pool: Pool, episodes: int = START_EPISODES, threads: int = 1
) -> dict[str, PoolStart]:
    """Return what the best policies of a grown pool are worth, by the tasks of which it holds returns."""
    tasks = find_tasks(model.env["id"], pool.meta["growth"]["tasks"])
    best = {task: int(best_of_pool(pool, task)[0]) for task in tasks}
    rows = np.unique(list(best.values()))  # one policy may be the best on several tasks
    params = pool.params(rows)
    both = torch.cat([params, model.decoder(model.encode(params))])
    seeds = range(FRESH_SEED, FRESH_SEED + episodes)
    played = rollout(model.policy, both, EnvSpec.from_dict(model.env), seeds, tasks, threads=threads)
    found: dict[str, PoolStart] = {}
    for number, (task, row) in enumerate(best.items()):
        place, means = int(np.searchsorted(rows, row)), played.returns[task].mean(1)
        own, decoded = float(means[place]), float(means[place + len(rows)])
        found[task] = PoolStart(float(pool.arrays["returns"][row, number]), own, decoded)
    return found
