"""The finetune job behind its entry point: one run after another or side by side, and the closing table."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from lightning_pz.autoencoder.load import load_autoencoder
from lightning_pz.autoencoder.module import BehaviorAutoencoder
from lightning_pz.common.checks import is_installed
from lightning_pz.common.console import show_end, tqdm_disable
from lightning_pz.common.files import file_digest, safe_name
from lightning_pz.common.tables import Table
from lightning_pz.envs.presets import env_name, resolve_env
from lightning_pz.envs.tasks import task_names
from lightning_pz.jobs.finetune_run import Job, Result, build, find_folder
from lightning_pz.jobs.finetune_settings import JobSettings, check_env, check_task
from lightning_pz.jobs.side_by_side import one_by_one, side_by_side
from lightning_pz.search.loop import check_budget
from lightning_pz.search.settings import SearchSettings


def finetune(jobs: JobSettings, search: SearchSettings) -> list[Result]:
    """Do all runs that a command asks for, and print the closing table.

    Raises:
        UserError: Something does not fit together.
        KeyboardInterrupt: As it came; finished runs and saved states stay.
    """
    assert jobs.checkpoint is not None
    model = load_autoencoder(jobs.checkpoint)
    env_id = model.env["id"]
    check_env(env_id, None if jobs.env is None else resolve_env(jobs.env)["env"]["id"], jobs)
    check_task(env_id, search.task)
    search = with_known_latents(search, model)
    tasks = task_names(env_id) if search.task == "all" else tuple(dict.fromkeys(search.task.split(",")))
    for task in tasks:
        _, made = build(model, replace(search, task=task), 1, jobs.pool)
        check_budget(made, search)
    count = len(tasks) * jobs.seeds
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = min(jobs.workers or cores, count)
    fingerprint = file_digest(Path(jobs.checkpoint))
    todo = [
        Job(
            number,
            jobs.checkpoint,
            fingerprint,
            replace(search, task=task, seed=seed),
            jobs.logs,
            max(1, cores // workers),
            jobs.pool,
        )
        for number, (task, seed) in enumerate(
            (task, seed) for task in tasks for seed in range(search.seed, search.seed + jobs.seeds)
        )
    ]
    # What is finished is told here: a worker process takes seconds to begin.
    results, todo = _split(todo, model)
    workers = min(workers, len(todo))
    with tqdm(total=count * search.budget, unit="step", unit_scale=True, disable=tqdm_disable(jobs.progress)) as bar:
        try:
            bar.update(len(results) * search.budget)
            if workers == 1:
                one_by_one(todo, results, bar)
            elif todo:
                side_by_side(todo, workers, results, bar)
        except KeyboardInterrupt:
            bar.close()
            _show(results, jobs, search, env_id, tasks, count)
            raise
    if not is_installed("onnx"):
        print("note: no policy.onnx was written, for it needs the package onnx: pip install 'lightning_pz[onnx]'")
    _show(results, jobs, search, env_id, tasks, count)
    return results


def with_known_latents(search: SearchSettings, model: BehaviorAutoencoder) -> SearchSettings:
    """Return the settings; with Gaussian latents, and a word about it, where the checkpoint holds no encodings."""
    if search.latents == "gaussian" or len(model.latent_encodings):
        return search
    if search.draws_latents:
        print(
            "note: random latents are drawn from a Gaussian, for this checkpoint was saved by an earlier version, which kept no "
            "encodings of policies: fit again for --latents density"
        )
    return replace(search, latents="gaussian")


def _split(jobs: list[Job], model: BehaviorAutoencoder) -> tuple[list[Result], list[Job]]:
    """Return the results of finished runs, and the other jobs, numbered anew."""
    results: list[Result] = []
    todo: list[Job] = []
    for job in jobs:
        folder = find_folder(job, model)
        if (summary := folder.summary) is not None:
            results.append(Result(folder.path, summary, found=True))
        else:
            todo.append(replace(job, number=len(todo)))
            if folder.note is not None:
                print(f"note: {folder.note}")
    return results, todo


def _show(
    results: list[Result], jobs: JobSettings, search: SearchSettings, env_id: str, tasks: tuple[str, ...], count: int
) -> None:
    """Print a row per task, and last the folder that holds the runs."""
    ended = [result for result in results if result.summary is not None]
    rows = []
    for task in tasks:
        own = [result for result in ended if result.summary is not None and result.summary["task"] == task]
        if own:
            rows.append(_row(task, own))
    if rows:
        header = ["task", "runs", "return", "lowest", "highest", "steps", "seconds", "invalid", "there already"]
        print(f"\n{Table(header, rows).console()}")
    for result in ended:
        if result.summary is not None and "ended" in result.summary:
            print(f"\nnote: {result.folder} ended before its budget: {result.summary['ended']}")
    if len(ended) < count:
        print(
            f"\n{count - len(ended)} of {count} runs are unfinished; the same command goes on with them",
            file=sys.stderr,
        )
    parent = Path(jobs.logs) / "finetune" / env_name(env_id)
    folder = parent if len(tasks) > 1 else parent / safe_name(tasks[0])
    if count == 1 and ended:
        folder = ended[0].folder
    show_end(
        {"environment": env_id, "algorithm": search.algorithm, "budget": f"{search.budget:,} steps"},
        f"tensorboard --logdir {folder}",
        folder,
    )


def _row(task: str, results: list[Result]) -> list[str]:
    summaries = [result.summary for result in results if result.summary is not None]
    returns = [s[f"{task}/return"] for s in summaries if s[f"{task}/return"] is not None]
    numbers = (
        [f"{value:.2f}" for value in (sum(returns) / len(returns), min(returns), max(returns))]
        if returns
        else ["-"] * 3
    )

    def mean(key: str) -> float:
        return sum(s[key] for s in summaries) / len(summaries)

    found = sum(result.found for result in results)
    return [
        task, str(len(results)), *numbers, f"{mean('env_steps'):,.0f}", f"{mean('seconds'):.1f}",
        str(sum(s["invalid"] for s in summaries)), str(found) if found else "-",
    ]  # fmt: skip
