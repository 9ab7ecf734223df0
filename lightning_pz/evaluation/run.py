"""Evaluates one checkpoint: plays, measures, draws, and leaves a folder that is never made twice."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from lightning_pz import plots
from lightning_pz.autoencoder.module import BehaviorAutoencoder, load_autoencoder
from lightning_pz.common.statistics import BOOTSTRAP, NONE, Estimate, mean_interval, percentiles
from lightning_pz.envs.tasks import find_tasks
from lightning_pz.errors import UserError
from lightning_pz.evaluation import figures
from lightning_pz.evaluation.fresh import FRESH, Champion, champions
from lightning_pz.evaluation.metrics import METRICS, bootstrap, drop_invalid, recovery
from lightning_pz.evaluation.play import EvaluateConfig, Plays, find_pool, play, read_returns, write_returns
from lightning_pz.pool.store import file_digest


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

    Args:
        path: The checkpoint's file.
        model: The checkpoint, loaded.
        tasks: Names of the tasks; all that are known of the environment if None.
        config: What to play and how to measure it.
        logs: Folder under which `evaluate/<env>/` lies.
        pool: Where the checkpoint's pool lies now, if it was moved.
        progress: Draw progress bars.

    Raises:
        UserError: An unknown task, a pool that is missing or another one, too few valid policies.
    """
    description = model.hparams["description"]
    functions = find_tasks(description["env"]["id"], tasks)
    opened = find_pool(model, pool)
    parent = logs / "evaluate" / description["env_name"]
    settings = {"checkpoint": str(path), "tasks": list(functions), **dataclasses.asdict(config)}
    # Equal contents and settings share a folder; where the file lies and how many threads there are does not matter.
    identity = {**settings, "checkpoint": file_digest(path), "threads": None}
    tag = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
    name = f"{description['policy']}-k{model.hparams['latent_dim']}-seed{description.get('seed', 0)}"
    folder = parent / f"{name}-{tag}"
    if (folder / "summary.json").is_file():
        kept = json.loads((folder / "summary.json").read_text())
        if all(f"{task}/{metric}" in kept for task in functions for metric in METRICS):
            return Evaluation(folder, kept, _read_draws(folder, list(functions), config), found=True)
        # Left by a version that knew fewer metrics: all are functions of the episodes, which lie there.
        values, draws = _measure(read_returns(folder / "returns.csv"), config)
        _save_measures(folder, kept | values, draws)
        return Evaluation(folder, kept | values, draws, found=True)
    start = time.perf_counter()
    plays = play(model, opened, functions, config, parent / "shared", progress=progress)
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
    _write(folder, model, plays, settings, summary, draws, best)
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
    with (folder / "bootstrap.npz.tmp").open("wb") as file:
        np.savez(file, allow_pickle=False, **flat)
    (folder / "bootstrap.npz.tmp").rename(folder / "bootstrap.npz")
    (folder / "summary.json.tmp").write_text(json.dumps(summary, indent=2) + "\n")
    (folder / "summary.json.tmp").rename(folder / "summary.json")


def _write(
    folder: Path,
    model: BehaviorAutoencoder,
    plays: Plays,
    settings: dict[str, Any],
    summary: dict[str, Any],
    draws: dict[str, dict[str, np.ndarray]],
    best: dict[str, dict[str, Champion]],
) -> None:
    """Write the run folder whole, under another name first."""
    from torch.utils.tensorboard import SummaryWriter

    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    (temporary / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    write_returns(plays, temporary / "returns.csv")
    (temporary / "best_in_pool").mkdir()
    for task, champion in best["pool"].items():
        champion.policy.save(temporary / "best_in_pool" / f"{task.replace(':', '-')}.npz")
    np.savez(temporary / "latents.npz", allow_pickle=False, **plays.latents)
    writer = SummaryWriter(str(temporary))
    for key, value in summary.items():
        if "/" in key and isinstance(value, float):
            writer.add_scalar(key, value, summary["env_steps"])
    title = f"{model.hparams['description']['env_name']}, {summary['policy']} policies, k = {summary['latent_dim']}"
    for name, figure in figures.draw(plays, title).items():
        plots.save(figure, temporary / "figures" / f"{name}.png")
        writer.add_figure(name, figure, summary["env_steps"])
        plots.plt.close(figure)
    writer.close()
    _save_measures(temporary, summary, draws)
    shutil.rmtree(folder, ignore_errors=True)  # left by a run that was killed: it has no summary.json
    temporary.rename(folder)
