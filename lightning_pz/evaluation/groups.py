"""Plays the four groups of policies that recovery compares, all on the same episodes."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_pz.autoencoder.module import BehaviorAutoencoder
from lightning_pz.common.checks import LatentsKind, at_least, check_choices, seeds
from lightning_pz.common.errors import UserError
from lightning_pz.common.identity import digest
from lightning_pz.common.latent_distribution import ENCODINGS, LatentDistribution
from lightning_pz.envs.rollout import Rollouts, rollout
from lightning_pz.envs.specs import EnvSpec
from lightning_pz.envs.tasks import TaskFunction
from lightning_pz.evaluation.latents import choose_latents
from lightning_pz.evaluation.shared import kept
from lightning_pz.policy import draw_params
from lightning_pz.pool.batches import split_rows
from lightning_pz.pool.of_checkpoint import open_pool_of
from lightning_pz.pool.store import Pool

GROUPS = ("pool", "reconstructed", "latents", "random")
"""Held-out policies of the pool, the same encoded and decoded, decoded latents, fresh draws of the prior."""


@dataclass(frozen=True)
class EvaluateConfig:
    """What to play and how to measure it.

    Args:
        policies: Policies in each of the four groups; fewer where the pool holds out fewer.
        episodes: Episodes of each policy; the same seeds for all.
        episode_seed: Seed of the first episode; the others follow.
        latents: Distribution that latents are sampled from (k above 3): `density`, a kernel density over encoded training
            policies, or `gaussian`, with their mean and covariance.
        latent_seed: Seed of the latents that are sampled.
        best: How many of the pool's best policies the reconstruction gap averages over.
        draws: Bootstrap resamples behind each interval.
        fresh_episodes: Episodes on which the best of the pool and of the latents are measured again, since the
            maximum of many noisy means flatters.
        threads: Threads that step physics; results do not depend on it.
    """

    policies: int = 500
    episodes: int = 4
    episode_seed: int = 1_000_000
    latents: LatentsKind = "density"
    latent_seed: int = 0
    best: int = 50
    draws: int = 1000
    fresh_episodes: int = 100
    threads: int = 2

    def __post_init__(self) -> None:
        names = ("policies", "episodes", "best", "draws", "fresh_episodes", "threads")
        at_least(1, {name: getattr(self, name) for name in names})
        seeds({"episode_seed": self.episode_seed}, self.episodes)
        seeds({"latent_seed": self.latent_seed})
        check_choices(self)

    @property
    def seeds(self) -> list[int]:
        """Seeds of the episodes."""
        return list(range(self.episode_seed, self.episode_seed + self.episodes))


@dataclass(frozen=True)
class Plays:
    """What the four groups did."""

    returns: dict[str, dict[str, np.ndarray]]  # by group and task, (N, E); NaN where an episode is invalid
    lengths: dict[str, np.ndarray]  # steps of each episode by group, (N, E)
    latents: dict[str, np.ndarray]  # the latents of groups `reconstructed` and `latents`, (N, k)

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks."""
        return list(self.returns["pool"])

    def of_task(self, task: str) -> dict[str, np.ndarray]:
        """Return the returns of one task by group."""
        return {group: self.returns[group][task] for group in GROUPS}

    def invalid(self) -> dict[str, int]:
        """Return how many policies of each group have an invalid episode."""
        return {group: int((~np.isfinite(next(iter(r.values()))).all(1)).sum()) for group, r in self.returns.items()}


def find_pool(model: BehaviorAutoencoder, given: str | None = None) -> Pool:
    """Open the pool that a checkpoint was trained on.

    Args:
        model: The checkpoint, loaded.
        given: Where the pool lies now, if it was moved.

    Raises:
        UserError: It is not there, or it is another pool.
    """
    return open_pool_of(model.hparams["description"], given)


def held_out_rows(model: BehaviorAutoencoder, pool: Pool, count: int) -> np.ndarray:
    """Return rows of at most `count` held-out policies, those of the test FVU before those that chose the checkpoint."""
    rows = split_rows(pool, **model.hparams["description"]["pool"]["split"])
    return np.concatenate([rows["test"], rows["val"]])[:count]


@torch.no_grad()
def play_groups(
    model: BehaviorAutoencoder,
    pool: Pool,
    tasks: Mapping[str, TaskFunction],
    config: EvaluateConfig,
    shared: Path,
    decides: Mapping[str, Any],
    *,
    progress: bool = False,
) -> Plays:
    """Play all four groups, those that do not depend on the checkpoint only once for a pool.

    Args:
        model: The trained autoencoder.
        pool: The pool it was trained on.
        tasks: Reward functions by name.
        config: What to play.
        shared: Folder where the returns of `pool` and `random` are kept for the next checkpoint.
        decides: What else decides an episode, as plain data: the environment as it is, the sources of the tasks, versions.
        progress: Draw progress bars.

    Raises:
        UserError: A user's task returns something else than rewards.
    """
    spec = EnvSpec.from_dict(model.env)
    rows = held_out_rows(model, pool, config.policies)
    latents = choose_latents(_distribution(model, pool, config.latents), len(rows), config.latent_seed)
    codes = torch.cat([model.encode(pool.params(part)) for part in _parts(rows)])
    first = int(pool.meta["candidates"])

    def fresh(numbers: range) -> Float[Tensor, "policies params"]:
        beyond = range(first + numbers.start, first + numbers.stop)
        return draw_params(pool.prior, pool.layout, pool.meta["seed"], beyond)

    def run(make: Callable[[range], Tensor], count: int, group: str) -> Rollouts:
        if progress:
            print(f"  {group}: {count} policies x {config.episodes} episodes", flush=True)
        return rollout(
            model.policy, make, spec, config.seeds, tasks,
            policies=count, threads=config.threads, progress=progress,
        )  # fmt: skip

    def run_once(make: Callable[[range], Tensor], group: str) -> Rollouts:
        return kept(shared, group, content, list(tasks), lambda: run(make, len(rows), group))

    network = (
        model.policy.observation_mean,
        model.policy.observation_std,
        model.policy.action_low,
        model.policy.action_high,
    )
    content = {
        **decides, "pool": pool.digest, "rows": rows.tolist(), "seeds": config.seeds,
        "network": digest([model.policy.layout.to_dict(), [value.tolist() for value in network]]),
    }  # fmt: skip
    results = {
        "pool": run_once(lambda n: pool.params(rows[n.start : n.stop]), "pool"),
        "reconstructed": run(lambda n: model.decoder(codes[n.start : n.stop]), len(codes), "reconstructed"),
        "latents": run(lambda n: model.decoder(latents[n.start : n.stop]), len(latents), "latents"),
        "random": run_once(fresh, "random"),
    }
    return Plays(
        returns={group: result.returns for group, result in results.items()},
        lengths={group: result.lengths for group, result in results.items()},
        latents={"reconstructed": codes.numpy(), "latents": latents.numpy()},
    )


def _distribution(model: BehaviorAutoencoder, pool: Pool, kind: str) -> LatentDistribution:
    """Return what latents are sampled from; checkpoints of earlier versions, which hold no encodings, make them now."""
    if not len(model.latent_encodings):
        rows = split_rows(pool, **model.hparams["description"]["pool"]["split"])["train"][:ENCODINGS]
        model.latent_encodings = torch.cat([model.encode(pool.params(part)) for part in _parts(rows)])
    return model.latents(kind)


def _parts(rows: np.ndarray) -> list[np.ndarray]:
    return np.array_split(rows, max(1, len(rows) // 64))


def write_returns(plays: Plays, path: Path) -> None:
    """Write one line per episode: group, policy, episode, steps, valid, and a column for each task."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["group", "policy", "episode", "steps", "valid", *plays.tasks])
        for group in GROUPS:
            lengths, returns = plays.lengths[group], plays.returns[group]
            for policy, episode in np.ndindex(lengths.shape):
                values = [float(returns[task][policy, episode]) for task in plays.tasks]
                valid = int(np.isfinite(values).all())
                writer.writerow([group, policy, episode, lengths[policy, episode], valid, *map(repr, values)])


def read_returns(path: Path) -> Plays:
    """Read what `write_returns` wrote; latents are not in it.

    Raises:
        UserError: The file is cut off or something else.
    """
    try:
        with path.open(newline="") as file:
            header, *lines = list(csv.reader(file))
        tasks = header[5:]
        returns: dict[str, dict[str, np.ndarray]] = {}
        lengths = {}
        for group in GROUPS:
            rows = [line for line in lines if line[0] == group]
            shape = (int(rows[-1][1]) + 1, int(rows[-1][2]) + 1)
            lengths[group] = np.array([int(row[3]) for row in rows]).reshape(shape)
            table = np.array([[float(value) for value in row[5:]] for row in rows])
            returns[group] = {task: table[:, i].reshape(shape) for i, task in enumerate(tasks)}
    except (ValueError, IndexError) as error:
        raise UserError(f"{path} is cut off or was not written by evaluate: delete its folder and run again") from error
    return Plays(returns, lengths, {})
