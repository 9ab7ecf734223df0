"""Evaluates one checkpoint: plays, measures, draws figures, and writes a run folder, once."""

from __future__ import annotations

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
from lightning_pz.common.errors import UserError
from lightning_pz.common.files import alone, file_digest, new_folder, replacing, safe_name, slug, write_json, write_text
from lightning_pz.common.identity import digest
from lightning_pz.common.known_folders import Identity, find
from lightning_pz.common.statistics import BOOTSTRAP, NONE, Estimate, mean_interval, percentiles
from lightning_pz.common.tracking.settings import Loggers
from lightning_pz.common.tracking.tracker import Tracker
from lightning_pz.envs.episode_identity import environment_identity, is_as_it_was, task_sources, versions
from lightning_pz.envs.presets import env_name
from lightning_pz.envs.tasks import find_tasks
from lightning_pz.evaluation.figures import evaluation_figures
from lightning_pz.evaluation.fresh import FRESH, champions, middles
from lightning_pz.evaluation.groups import (
    GRID_DIM,
    EvaluateConfig,
    Plays,
    find_pool,
    play_groups,
    read_returns,
    write_returns,
)
from lightning_pz.evaluation.metrics import (
    BEST_FRESH,
    RECOVERY_METRICS,
    bootstrap,
    drop_invalid,
    recovery,
    recovery_best_fresh,
)
from lightning_pz.policy.saved import policy_file
from lightning_pz.pool.store import Pool


@dataclass(frozen=True)
class Evaluation:
    """One checkpoint's results."""

    folder: Path  # its run folder
    summary: dict[str, Any]  # the contents of summary.json
    draws: dict[str, dict[str, np.ndarray]]  # bootstrap resamples of each metric by task, (draws,) each
    found: bool  # whether the folder was there already


def load_checkpoints(
    paths: Sequence[str], env_id: str | None, policy: str | None = None
) -> list[tuple[Path, BehaviorAutoencoder]]:
    """Load checkpoints; `UserError` for one of another environment than the first or the one asked for.

    `policy` is the size to take of a checkpoint of several; see `load_autoencoder`.
    """
    loaded = [(Path(path), load_autoencoder(path, policy)) for path in paths]
    expected = env_id or loaded[0][1].env["id"]
    for path, model in loaded:
        if model.env["id"] != expected:
            asked = "--env asks for" if env_id else f"{loaded[0][0]} is of"
            raise UserError(
                f"{path} was trained on {model.env['id']}, but {asked} {expected}: give checkpoints of one environment"
            )
    return loaded


def evaluate(
    path: Path, model: BehaviorAutoencoder, tasks: Sequence[str] | None, config: EvaluateConfig, logs: Path,
    pool: str | None = None, *, progress: bool = False, loggers: Loggers = Loggers(),  # noqa: B008  frozen
) -> Evaluation:  # fmt: skip
    """Evaluate one checkpoint, or read what an equal evaluation left behind in `<logs>/evaluate/<env>`.

    It is found again by the content of all that decides it; the place of the checkpoint and the number of threads do not
    matter. All known tasks of the environment are played if `tasks` is None; `pool` is the pool's folder if it was moved;
    `loggers` get numbers and figures of a new one.
    `UserError`: an unknown task, a missing or wrong pool, a changed environment, or too few valid policies.
    """
    description = model.hparams["description"]
    functions = find_tasks(description["env"]["id"], tasks)
    opened = find_pool(model, pool)
    settings = {"checkpoint": str(path), "tasks": list(functions), **config.plain()}
    if model.hparams["latent_dim"] <= GRID_DIM:
        del settings["latents"]  # a grid draws nothing
    identity = _identity(path, model, opened, settings)
    parents = [logs / "evaluate" / name for name in (env_name(model.env["id"]), slug(description["env_name"]))]
    name = f"{safe_name(description['policy'])}-k{model.hparams['latent_dim']}-seed{description.get('seed', 0)}"
    # Of equal evaluations begun together one plays and the others wait; a folder that cannot be written shows here.
    with alone(parents[0] / f"{name}-{identity.digest[:8]}"):
        folder = find(parents, f"{name}-{identity.digest[:8]}", identity)
        for place in [folder, *(parent / f"{name}-{tag[:8]}" for parent in parents for tag in identity.earlier)]:
            if (place / "summary.json").is_file():
                return _read_evaluation(place, list(functions), config)
        start = time.perf_counter()
        decides = {key: identity.content[key] for key in ("env", "tasks", "versions")}
        played = play_groups(model, opened, functions, config, parents[0] / "shared", decides, progress=progress)
        values, draws = _measure(played, config)
        best = champions(model, opened, played, functions, config, progress=progress)
        for group, metric in FRESH.items():
            for task, champion in best[group].items():
                values |= mean_interval(champion.returns).keys(f"{task}/{metric}")
        for task, floor in middles(model, opened, played, functions, config, progress=progress).items():
            ratio = recovery_best_fresh(best["pool"][task].returns, best["latents"][task].returns, floor)
            values |= ratio.keys(f"{task}/{BEST_FRESH}")
        invalid = played.invalid()
        summary: dict[str, Any] = {
            "env": description["env"]["id"], "policy": description["policy"], "params_per_policy": model.layout.num_params,
            "latent_dim": model.hparams["latent_dim"], "encoder": model.hparams["encoder"],
            "seed": description.get("seed", 0), "policies": len(played.lengths["pool"]),
            "latents": len(played.lengths["latents"]), "episodes": config.episodes,
            "env_steps": int(sum(lengths.sum() for lengths in played.lengths.values())),
            "invalid_policies": sum(invalid.values()), **{f"invalid_{group}": n for group, n in invalid.items()},
            "evaluate_seconds": round(time.perf_counter() - start, 2), "checkpoint": str(path), **values,
        }  # fmt: skip
        title = f"{description['env_name']}, {summary['policy']} policies, k = {summary['latent_dim']}"
        with new_folder(folder) as temporary:
            identity.write(temporary)
            write_text(temporary / "config.yaml", yaml.safe_dump(settings, sort_keys=False))
            (temporary / "best_in_pool").mkdir()
            for task, champion in best["pool"].items():
                champion.policy.save(temporary / "best_in_pool" / policy_file(task))
            with Tracker.of(loggers, temporary, final=folder) as tracker:
                _write_plays(temporary, played, summary, title, tracker)
            _write_measures(temporary, summary, draws)
        return Evaluation(folder, summary, draws, found=False)


def _identity(path: Path, model: BehaviorAutoencoder, pool: Pool, settings: dict[str, Any]) -> Identity:
    """Return everything that decides an evaluation.

    An earlier version named the folder by checkpoint and settings, and kept the pool's episodes by the numbers of its
    policies alone: where all candidates were kept, those are the same for every pool.
    """
    env, fingerprint = environment_identity(model.env, path), file_digest(path)
    sources = task_sources(env["id"], settings["tasks"])
    own = {key: value for key, value in settings.items() if key not in ("checkpoint", "tasks", "threads")}
    content = {"checkpoint": fingerprint, "pool": pool.digest, "env": env, "tasks": sources, "settings": own}
    content |= {"versions": versions(env["id"])}
    # Earlier versions drew from the Gaussian, without a setting for it.
    known = {key: value for key, value in settings.items() if (key, value) != ("latents", "gaussian")}
    before = digest({**known, "checkpoint": fingerprint, "threads": None})
    distinct = pool.meta.get("recipe") == "grown" or pool.meta["kept"] < pool.meta["candidates"]
    same = distinct and not any(sources.values()) and is_as_it_was(model.env, env)
    return Identity(content, (before,) if same else ())


def _read_evaluation(folder: Path, tasks: list[str], config: EvaluateConfig) -> Evaluation:
    """Read what an equal evaluation left behind."""
    summary, path = json.loads((folder / "summary.json").read_text()), folder / "bootstrap.npz"
    whole = all(f"{task}/{metric}" in summary for task in tasks for metric in RECOVERY_METRICS)
    if whole and path.is_file():
        with np.load(path) as kept:
            draws = {task: {metric: kept[f"{task}/{metric}"] for metric in RECOVERY_METRICS} for task in tasks}
    else:  # draws are missing, or metrics that an earlier version did not know: all are functions of the episodes
        values, draws = _measure(read_returns(folder / "returns.csv"), config)
    if not whole:
        summary |= values
        _write_measures(folder, summary, draws)
    return Evaluation(folder, summary, draws, found=True)


def _measure(played: Plays, config: EvaluateConfig) -> tuple[dict[str, Any], dict[str, dict[str, np.ndarray]]]:
    """Return flat summary keys with their intervals, and the bootstrap draws behind them."""
    values: dict[str, Any] = {}
    draws = {}
    for task in played.tasks:
        groups = drop_invalid(played.of_task(task))
        for group, returns in groups.items():
            if len(returns) < 2:
                raise UserError(
                    f"only {len(returns)} of {len(played.lengths[group])} policies of group {group!r} stayed finite on task "
                    f"{task!r}, too few to measure: raise --policies, or look for what makes the task or simulation overflow"
                )
        measured = recovery(groups, config.best)
        draws[task] = bootstrap(groups, config.draws, config.latent_seed, config.best)
        for metric in RECOVERY_METRICS:
            low, high = map(float, percentiles(draws[task][metric]))
            kind = BOOTSTRAP if np.isfinite([low, high]).all() else NONE
            values |= Estimate(measured[metric], low, high, kind).keys(f"{task}/{metric}")
    return values, draws


def _write_measures(folder: Path, summary: dict[str, Any], draws: dict[str, dict[str, np.ndarray]]) -> None:
    """Write bootstrap.npz and summary.json, each whole; the summary last, for it says that the folder is finished."""
    flat = {f"{task}/{metric}": drawn for task, by_metric in draws.items() for metric, drawn in by_metric.items()}
    with replacing(folder / "bootstrap.npz") as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **flat)
    write_json(folder / "summary.json", summary)


def _write_plays(folder: Path, played: Plays, summary: dict[str, Any], title: str, tracker: Tracker) -> None:
    """Write episodes, latents and figures, and log numbers and figures."""
    write_returns(played, folder / "returns.csv")
    np.savez(folder / "latents.npz", allow_pickle=False, **played.latents)
    tracker.log({k: v for k, v in summary.items() if "/" in k and isinstance(v, float)}, summary["env_steps"])
    for name, figure in evaluation_figures(played, title).items():
        tracker.figure(name, figure, summary["env_steps"], folder / "figures")
