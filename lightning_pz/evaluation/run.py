"""Evaluates one checkpoint: plays, measures, draws, and leaves a folder that is never made twice."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from lightning_pz.autoencoder.load import load_autoencoder
from lightning_pz.autoencoder.module import BehaviorAutoencoder
from lightning_pz.common import plots
from lightning_pz.common.errors import UserError
from lightning_pz.common.files import alone, file_digest, new_folder, replacing, safe_name, slug, write_json, write_text
from lightning_pz.common.identity import digest
from lightning_pz.common.known_folders import Identity, find
from lightning_pz.common.statistics import BOOTSTRAP, NONE, Estimate, mean_interval, percentiles
from lightning_pz.envs.identity import environment_now, is_as_it_was, task_sources, versions
from lightning_pz.envs.presets import env_name
from lightning_pz.envs.tasks import TaskFunction, find_tasks
from lightning_pz.evaluation import figures
from lightning_pz.evaluation.fresh import FRESH, Champion, champions
from lightning_pz.evaluation.groups import EvaluateConfig, Plays, find_pool, play_groups, read_returns, write_returns
from lightning_pz.evaluation.latents import GRID_DIM
from lightning_pz.evaluation.metrics import METRICS, bootstrap, drop_invalid, recovery
from lightning_pz.policy.saved import policy_file
from lightning_pz.pool.store import Pool


@dataclass(frozen=True)
class Evaluation:
    """What is known of one checkpoint.

    Attributes:
        folder: Its run folder.
        summary: The contents of summary.json.
        draws: Bootstrap resamples of each metric by task, (draws,) each.
        found: Whether the folder was there already.
    """

    folder: Path
    summary: dict[str, Any]
    draws: dict[str, dict[str, np.ndarray]]
    found: bool


def load_checkpoints(paths: Sequence[str], env_id: str | None) -> list[tuple[Path, BehaviorAutoencoder]]:
    """Load the checkpoints and check that they can stand in one table.

    Raises:
        UserError: One is no checkpoint, or of another environment than the first or than asked for.
    """
    loaded = [(Path(path), load_autoencoder(path)) for path in paths]
    expected = env_id or loaded[0][1].env["id"]
    for path, model in loaded:
        if model.env["id"] != expected:
            asked = "--env asks for" if env_id else f"{loaded[0][0]} is of"
            raise UserError(
                f"{path} was trained on {model.env['id']}, but {asked} {expected}: give checkpoints of one environment"
            )
    return loaded


def evaluate(
    path: Path,
    model: BehaviorAutoencoder,
    tasks: Sequence[str] | None,
    config: EvaluateConfig,
    logs: Path,
    pool: str | None = None,
    *,
    progress: bool = False,
) -> Evaluation:
    """Evaluate one checkpoint, or read what an equal evaluation left behind.

    It is known by the content of all that decides it: where the checkpoint lies and how many threads there are does not
    matter.

    Args:
        path: The checkpoint's file.
        model: The checkpoint, loaded.
        tasks: Names of the tasks; all that are known of the environment if None.
        config: What to play and how to measure it.
        logs: Folder under which `evaluate/<env>/` lies.
        pool: Where the checkpoint's pool lies now, if it was moved.
        progress: Draw progress bars.

    Raises:
        UserError: An unknown task, a pool that is missing or another one, an environment that has changed, too few valid
            policies.
    """
    description = model.hparams["description"]
    functions = find_tasks(description["env"]["id"], tasks)
    opened = find_pool(model, pool)
    settings = {"checkpoint": str(path), "tasks": list(functions), **dataclasses.asdict(config)}
    if model.hparams["latent_dim"] <= GRID_DIM:
        del settings["latents"]  # a grid draws nothing
    identity = _identity(path, model, opened, settings)
    parents = [logs / "evaluate" / name for name in (env_name(model.env["id"]), slug(description["env_name"]))]
    name = f"{safe_name(description['policy'])}-k{model.hparams['latent_dim']}-seed{description.get('seed', 0)}"
    # Of equal evaluations begun together one plays and the others wait; a folder that cannot be written shows here.
    with alone(parents[0] / f"{name}-{identity.digest[:8]}"):
        folder = find(parents, f"{name}-{identity.digest[:8]}", identity)
        places = [folder, *(parent / f"{name}-{tag[:8]}" for parent in parents for tag in identity.earlier)]
        for place in places:
            if (place / "summary.json").is_file():
                return _found(place, list(functions), config)
        return _make(
            folder, parents[0] / "shared", path, model, opened, functions, config, settings, identity, progress
        )


def _identity(path: Path, model: BehaviorAutoencoder, pool: Pool, settings: dict[str, Any]) -> Identity:
    """Return everything that decides an evaluation.

    An earlier version named the folder by checkpoint and settings, and kept the pool's episodes by the numbers of its
    policies alone: where all candidates were kept, those are the same for every pool.
    """
    env = environment_now(model.env, path)
    sources = task_sources(env["id"], settings["tasks"])
    own = {key: value for key, value in settings.items() if key not in ("checkpoint", "tasks", "threads")}
    fingerprint = file_digest(path)
    content = {
        "checkpoint": fingerprint, "pool": pool.digest, "env": env, "tasks": sources, "settings": own, "versions": versions(),
    }  # fmt: skip
    # Earlier versions drew from the Gaussian, and had no word for it.
    known = {key: value for key, value in settings.items() if (key, value) != ("latents", "gaussian")}
    before = digest({**known, "checkpoint": fingerprint, "threads": None})
    told = pool.meta.get("recipe") == "grown" or pool.meta["kept"] < pool.meta["candidates"]
    told = told and not any(sources.values()) and is_as_it_was(model.env, env)
    return Identity(content, (before,) if told else ())


def _found(folder: Path, tasks: list[str], config: EvaluateConfig) -> Evaluation:
    """Read what an equal evaluation left behind."""
    kept = json.loads((folder / "summary.json").read_text())
    if all(f"{task}/{metric}" in kept for task in tasks for metric in METRICS):
        return Evaluation(folder, kept, _read_draws(folder, tasks, config), found=True)
    # Left by a version that knew fewer metrics: all are functions of the episodes, which lie there.
    values, draws = _measure(read_returns(folder / "returns.csv"), config)
    _save_measures(folder, kept | values, draws)
    return Evaluation(folder, kept | values, draws, found=True)


def _make(
    folder: Path,
    shared: Path,
    path: Path,
    model: BehaviorAutoencoder,
    opened: Pool,
    functions: dict[str, TaskFunction],
    config: EvaluateConfig,
    settings: dict[str, Any],
    identity: Identity,
    progress: bool,
) -> Evaluation:
    description = model.hparams["description"]
    start = time.perf_counter()
    decides = {key: identity.content[key] for key in ("env", "tasks", "versions")}
    plays = play_groups(model, opened, functions, config, shared, decides, progress=progress)
    values, draws = _measure(plays, config)
    best = champions(model, opened, plays, functions, config, progress=progress)
    values |= _measure_again(best)
    invalid = plays.invalid()
    summary: dict[str, Any] = {
        "env": description["env"]["id"],
        "policy": description["policy"],
        "params_per_policy": model.layout.num_params,
        "latent_dim": model.hparams["latent_dim"],
        "encoder": model.hparams["encoder"],
        "seed": description.get("seed", 0),
        "policies": len(plays.lengths["pool"]),
        "latents": len(plays.lengths["latents"]),
        "episodes": config.episodes,
        "env_steps": int(sum(lengths.sum() for lengths in plays.lengths.values())),
        "invalid_policies": sum(invalid.values()),
        **{f"invalid_{group}": count for group, count in invalid.items()},
        "evaluate_seconds": round(time.perf_counter() - start, 2),
        "checkpoint": str(path),
        **values,
    }
    with new_folder(folder) as temporary:
        identity.write(temporary)
        _write(temporary, model, plays, settings, summary, draws, best)
    return Evaluation(folder, summary, draws, found=False)


def _measure(plays: Plays, config: EvaluateConfig) -> tuple[dict[str, Any], dict[str, dict[str, np.ndarray]]]:
    """Return flat summary keys with their intervals, and the bootstrap draws behind them."""
    values: dict[str, Any] = {}
    draws = {}
    for task in plays.tasks:
        groups = drop_invalid(plays.of_task(task))
        for group, returns in groups.items():
            if len(returns) < 2:
                raise UserError(
                    f"only {len(returns)} of {len(plays.lengths[group])} policies of group {group!r} stayed finite on task "
                    f"{task!r}, too few to measure: raise --policies, or look for what makes the task or simulation overflow"
                )
        measured = recovery(groups, config.best)
        draws[task] = bootstrap(groups, config.draws, config.latent_seed, config.best)
        for metric in METRICS:
            low, high = map(float, percentiles(draws[task][metric]))
            kind = BOOTSTRAP if np.isfinite([low, high]).all() else NONE
            values |= Estimate(measured[metric], low, high, kind).keys(f"{task}/{metric}")
    return values, draws


def _measure_again(best: dict[str, dict[str, Champion]]) -> dict[str, Any]:
    """Return flat summary keys of the best policies on fresh episodes."""
    values: dict[str, Any] = {}
    for group, metric in FRESH.items():
        for task, champion in best[group].items():
            values |= mean_interval(champion.returns).keys(f"{task}/{metric}")
    return values


def _read_draws(folder: Path, tasks: list[str], config: EvaluateConfig) -> dict[str, dict[str, np.ndarray]]:
    """Return the kept bootstrap draws, or make them again from the returns."""
    path = folder / "bootstrap.npz"
    if not path.is_file():
        return _measure(read_returns(folder / "returns.csv"), config)[1]
    with np.load(path) as kept:
        return {task: {metric: kept[f"{task}/{metric}"] for metric in METRICS} for task in tasks}


def _save_measures(folder: Path, summary: dict[str, Any], draws: dict[str, dict[str, np.ndarray]]) -> None:
    """Write bootstrap.npz and summary.json, each whole; the summary last, for it says that the folder is finished."""
    flat = {f"{task}/{metric}": drawn for task, by_metric in draws.items() for metric, drawn in by_metric.items()}
    with replacing(folder / "bootstrap.npz") as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **flat)
    write_json(folder / "summary.json", summary)


def _write(
    folder: Path,
    model: BehaviorAutoencoder,
    plays: Plays,
    settings: dict[str, Any],
    summary: dict[str, Any],
    draws: dict[str, dict[str, np.ndarray]],
    best: dict[str, dict[str, Champion]],
) -> None:
    """Write what a run folder holds."""
    from torch.utils.tensorboard import SummaryWriter

    write_text(folder / "config.yaml", yaml.safe_dump(settings, sort_keys=False))
    write_returns(plays, folder / "returns.csv")
    (folder / "best_in_pool").mkdir()
    for task, champion in best["pool"].items():
        champion.policy.save(folder / "best_in_pool" / policy_file(task))
    np.savez(folder / "latents.npz", allow_pickle=False, **plays.latents)
    writer = SummaryWriter(str(folder))
    for key, value in summary.items():
        if "/" in key and isinstance(value, float):
            writer.add_scalar(key, value, summary["env_steps"])
    title = f"{model.hparams['description']['env_name']}, {summary['policy']} policies, k = {summary['latent_dim']}"
    for name, figure in figures.draw(plays, title).items():
        plots.save(figure, folder / "figures" / f"{name}.png")
        writer.add_figure(name, figure, summary["env_steps"])
        plots.plt.close(figure)
    writer.close()
    _save_measures(folder, summary, draws)
