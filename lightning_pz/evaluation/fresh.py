"""Measures the best policies again, on episodes that did not choose them: the largest of noisy means is too large."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from lightning_pz.autoencoder.module import BehaviorAutoencoder
from lightning_pz.envs.rollout import rollout
from lightning_pz.envs.specs import EnvSpec
from lightning_pz.envs.tasks import TaskFunction
from lightning_pz.evaluation.groups import EvaluateConfig, Plays, held_out_rows
from lightning_pz.policy import acting
from lightning_pz.policy.saved import SavedPolicy
from lightning_pz.pool.store import Pool

FRESH = {"pool": "best_in_pool_fresh", "latents": "best_latent_fresh"}  # the metric by group
FRESH_SEED = 20_000_000
"""First seed of the fresh episodes; those on which `finetune` measures what it found begin there too."""
_MIDDLE, _MIDDLE_SHARE = 10, 10
"""Policies that are the middle of a pool: so many, or the pool over so many where that is less."""


@dataclass(frozen=True)
class Champion:
    """The best policy of a group on a task."""

    number: int  # its place in the group
    policy: SavedPolicy  # the policy itself
    returns: Float[np.ndarray, " episodes"]  # its returns on the fresh episodes, (E,); NaN where one is invalid


@torch.no_grad()
def champions(
    model: BehaviorAutoencoder, pool: Pool, played: Plays, tasks: Mapping[str, TaskFunction], config: EvaluateConfig,
    *, progress: bool = False,
) -> dict[str, dict[str, Champion]]:  # fmt: skip
    """Play the policies that `played` calls best, of the pool and of the decoded latents, again, by group and task."""
    rows, spec = held_out_rows(model, pool, config.policies), EnvSpec.from_dict(model.env)
    latents, network = torch.from_numpy(played.latents["latents"]), acting(model.policy, config.sample)
    found: dict[str, dict[str, Champion]] = {}
    for group in FRESH:
        best = {task: best_of(played.returns[group][task]) for task in tasks}
        numbers = np.unique(list(best.values()))  # one policy may be the best on several tasks
        params = pool.params(rows[numbers]) if group == "pool" else model.decoder(latents[numbers])
        if progress:
            print(f"  best of {group}: {len(numbers)} policies x {config.fresh_episodes} fresh episodes", flush=True)
        seeds = fresh_seeds(config)
        again = rollout(network, params, spec, seeds, tasks, threads=config.cores, progress=progress)
        places = {task: int(np.searchsorted(numbers, number)) for task, number in best.items()}
        found[group] = {
            task: Champion(best[task], SavedPolicy.of(network, params[place]), again.returns[task][place])
            for task, place in places.items()
        }
    return found


@torch.no_grad()
def middles(
    model: BehaviorAutoencoder, pool: Pool, played: Plays, tasks: Mapping[str, TaskFunction], config: EvaluateConfig,
    *, progress: bool = False,
) -> dict[str, Float[np.ndarray, " episodes"]]:  # fmt: skip
    """Return by task what the middle of the pool earns on the fresh episodes, (E,), the floor of `recovery_best_fresh`.

    The median of episodes that chose the best is no floor here: what starts are worth differs from episode to episode.
    """
    rows, spec = held_out_rows(model, pool, config.policies), EnvSpec.from_dict(model.env)
    network = acting(model.policy, config.sample)
    middle = {task: middle_of(played.returns["pool"][task]) for task in tasks}
    numbers = np.unique(np.concatenate(list(middle.values())))
    if progress:
        print(f"  middle of pool: {len(numbers)} policies x {config.fresh_episodes} fresh episodes", flush=True)
    again = rollout(
        network, pool.params(rows[numbers]), spec, fresh_seeds(config), tasks, threads=config.cores, progress=progress
    )
    return {task: again.returns[task][np.searchsorted(numbers, own)].mean(0) for task, own in middle.items()}


def fresh_seeds(config: EvaluateConfig) -> list[int]:
    """Return the seeds of the fresh episodes: from `FRESH_SEED` on, or behind those that chose where these lie there."""
    chose, count = config.seeds, config.fresh_episodes
    first = FRESH_SEED if chose[-1] < FRESH_SEED or chose[0] >= FRESH_SEED + count else chose[-1] + 1
    return list(range(first, first + count))


def best_of(returns: Float[np.ndarray, "policies chosen_by"]) -> int:
    """Return the number of the policy with the highest mean return, the first of equals; invalid ones are out."""
    means = returns.mean(1)
    return int(np.argmax(np.where(np.isfinite(means), means, -np.inf)))


def middle_of(returns: Float[np.ndarray, "policies chosen_by"]) -> np.ndarray:
    """Return the numbers of the policies whose mean returns are nearest to the median of all, without invalid ones.

    One policy alone may be far from the middle on other episodes; the mean of several is not.
    """
    means = returns.mean(1)
    count = max(1, min(_MIDDLE, len(means) // _MIDDLE_SHARE))
    return np.argsort(np.abs(means - np.nanmedian(means)), kind="stable")[:count]  # NaN come last
