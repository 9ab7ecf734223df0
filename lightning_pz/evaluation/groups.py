"""Plays the four groups of policies that recovery compares, all on the same episodes."""

from __future__ import annotations

import contextlib
import csv
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_pz.autoencoder.module import BehaviorAutoencoder
from lightning_pz.common.checks import LatentsKind, at_least, check_choices, seeds
from lightning_pz.common.errors import UserError
from lightning_pz.common.files import replacing
from lightning_pz.common.identity import digest
from lightning_pz.common.latent_distribution import ENCODINGS, LatentDistribution
from lightning_pz.common.processes import threads_or_all
from lightning_pz.envs.rollout import Rollouts, rollout
from lightning_pz.envs.specs import EnvSpec
from lightning_pz.envs.tasks import TaskFunction
from lightning_pz.policy import PolicyNetwork, acting, draw_params
from lightning_pz.pool.batches import split_rows
from lightning_pz.pool.of_checkpoint import open_pool_of
from lightning_pz.pool.store import Pool

GROUPS = ("pool", "reconstructed", "latents", "random")
"""Held-out policies of the pool, the same encoded and decoded, decoded latents, fresh draws of the prior."""
GRID_DIM = 3  # up to this latent size latents are a grid


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
        threads: Threads that step physics; all cores, or OMP_NUM_THREADS of them, if null. Results do not depend on it.
        sample: Whether policies with a distribution draw their actions; as the checkpoint's policies do if null.
    """

    policies: int = 500
    episodes: int = 4
    episode_seed: int = 1_000_000
    latents: LatentsKind = "density"
    latent_seed: int = 0
    best: int = 50
    draws: int = 1000
    fresh_episodes: int = 100
    threads: int | None = None
    sample: bool | None = None

    def __post_init__(self) -> None:
        names = ("policies", "episodes", "best", "draws", "fresh_episodes")
        at_least(1, {name: getattr(self, name) for name in names} | {"threads": self.cores})
        seeds({"episode_seed": self.episode_seed}, self.episodes)
        seeds({"latent_seed": self.latent_seed})
        check_choices(self)

    @property
    def cores(self) -> int:
        """Threads to take: those asked for, or all cores that there are for this process."""
        return threads_or_all(self.threads)

    def plain(self) -> dict[str, Any]:
        """Return plain data; without `sample` if it is null, so that earlier evaluations are found again."""
        return {key: value for key, value in asdict(self).items() if (key, value) != ("sample", None)}

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
    """Open the pool that a checkpoint was trained on, in the folder `given` if it was moved; see `open_pool_of`."""
    return open_pool_of(model.hparams["description"], given)


def held_out_rows(model: BehaviorAutoencoder, pool: Pool, count: int) -> np.ndarray:
    """Return rows of at most `count` held-out policies, those of the test FVU before those that chose the checkpoint."""
    return held_out(pool, model.hparams["description"], count)


def held_out(pool: Pool, description: Mapping[str, Any], count: int) -> np.ndarray:
    """Return rows of at most `count` held-out policies, as `held_out_rows` does, by the description of one size."""
    rows = split_rows(pool, **description["pool"]["split"])
    return np.concatenate([rows["test"], rows["val"]])[:count]


def grid_side(latent_dim: int, count: int) -> int:
    """Return how many points a side of the largest grid has that holds at most `count` points."""
    side = round(count ** (1 / latent_dim))
    return side if side**latent_dim <= count else side - 1


def choose_latents(latents: LatentDistribution, count: int, seed: int) -> Float[Tensor, "points latent"]:
    """Return at most `count` latents to decode, (n, k), about as many as the pool's policies, so that maxima compare fairly.

    For k <= 3 a grid, which may have fewer points (of 500: 484 with k = 2, 343 with k = 3), over mean +- 2.5 standard deviations of each coordinate over the pool, the last coordinate fastest,
    so that `reshape` to k sides gives the map back. Above, `count` samples.
    """
    k = len(latents.mean)
    if k > GRID_DIM:
        return latents.draw(count, torch.Generator().manual_seed(seed))
    side, reach = grid_side(k, count), 2.5 * latents.covariance.diagonal().sqrt()
    axes = [torch.linspace(float(m - r), float(m + r), side) for m, r in zip(latents.mean, reach, strict=True)]
    return torch.cartesian_prod(*axes).reshape(-1, k)


@torch.no_grad()
def play_groups(
    model: BehaviorAutoencoder, pool: Pool, tasks: Mapping[str, TaskFunction], config: EvaluateConfig, shared: Path,
    decides: Mapping[str, Any], *, progress: bool = False,
) -> Plays:  # fmt: skip
    """Play all four groups; a task that returns no rewards raises `UserError`.

    What does not depend on the checkpoint, `pool` and `random`, is played once for a pool and kept in the folder
    `shared`. `decides` is what else decides an episode, as plain data: environment, sources of the tasks, versions.
    """
    spec, network = EnvSpec.from_dict(model.env), acting(model.policy, config.sample)

    def encode(rows: np.ndarray) -> Float[Tensor, "policies latent"]:
        parts = np.array_split(rows, max(1, len(rows) // 64))
        return torch.cat([model.encode(pool.params(part)) for part in parts])

    def fresh(numbers: range) -> Float[Tensor, "policies params"]:
        first = int(pool.meta["candidates"])
        beyond = range(first + numbers.start, first + numbers.stop)
        return draw_params(pool.prior, pool.layout, pool.meta["seed"], beyond)

    def run(make: Callable[[range], Tensor], count: int, group: str) -> Rollouts:
        if progress:
            print(f"  {group}: {count} policies x {config.episodes} episodes", flush=True)
        more: dict[str, Any] = {"policies": count, "threads": config.cores, "progress": progress}
        return rollout(network, make, spec, config.seeds, tasks, **more)

    def run_once(make: Callable[[range], Tensor], group: str) -> Rollouts:
        return kept(shared, group, content, list(tasks), lambda: run(make, len(rows), group))

    rows = held_out_rows(model, pool, config.policies)
    if not len(model.latent_encodings):  # a checkpoint of an earlier version
        train = split_rows(pool, **model.hparams["description"]["pool"]["split"])["train"]
        model.latent_encodings = encode(train[:ENCODINGS])
    latents = choose_latents(model.latents(config.latents), len(rows), config.latent_seed)
    codes = encode(rows)
    content = pool_episodes(network, pool, rows, config, decides)
    results = {
        "pool": run_once(lambda n: pool.params(rows[n.start : n.stop]), "pool"),
        "reconstructed": run(lambda n: model.decoder(codes[n.start : n.stop]), len(codes), "reconstructed"),
        "latents": run(lambda n: model.decoder(latents[n.start : n.stop]), len(latents), "latents"),
        "random": run_once(fresh, "random"),
    }
    returns, lengths = ({g: getattr(result, name) for g, result in results.items()} for name in ("returns", "lengths"))
    return Plays(returns, lengths, {"reconstructed": codes.numpy(), "latents": latents.numpy()})


def pool_episodes(
    network: PolicyNetwork, pool: Pool, rows: np.ndarray, config: EvaluateConfig, decides: Mapping[str, Any]
) -> dict[str, Any]:
    """Return all that decides the episodes of some policies of a pool, as plain data; see `kept`."""
    scales = [network.observation_mean, network.observation_std, network.action_low, network.action_high]
    return {
        **decides, "pool": pool.digest, "rows": rows.tolist(), "seeds": config.seeds,
        "network": digest([network.layout.to_dict(), [value.tolist() for value in scales]]),
    }  # fmt: skip


def kept(
    folder: Path, group: str, content: Mapping[str, Any], tasks: Sequence[str], make: Callable[[], Rollouts]
) -> Rollouts:
    """Return what `make` returns, or what a folder keeps from when equal content, plain data, decided it last."""
    path = folder / f"{group}-{digest([group, content])[:16]}.npz"
    missing_or_cut = contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
    with missing_or_cut, path.open("rb") as stored, np.load(stored) as found:
        return Rollouts(found["lengths"], found["valid"], {name: found[f"returns/{name}"] for name in tasks})
    result = make()
    arrays = {f"returns/{name}": value for name, value in result.returns.items()}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, lengths=result.lengths, valid=result.valid, **arrays)
    return result


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
    """Read what `write_returns` wrote; latents are not in it. `UserError` if the file is cut off or something else."""
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
