"""The finetune job: all runs of a command, one after another or side by side, and the closing table."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning_pz.autoencoder.load import load_autoencoder
from lightning_pz.autoencoder.module import BehaviorAutoencoder
from lightning_pz.common.checks import is_installed
from lightning_pz.common.console import show_end
from lightning_pz.common.files import file_digest, safe_name
from lightning_pz.common.known_folders import claim, find
from lightning_pz.common.processes import available_cores
from lightning_pz.common.progress import ProgressBar
from lightning_pz.common.run_folder import RunFolder
from lightning_pz.common.tables import Table
from lightning_pz.common.tracking.settings import look_command
from lightning_pz.envs.presets import env_name
from lightning_pz.envs.specs import EnvSpec, env_words
from lightning_pz.envs.tasks import task_names
from lightning_pz.jobs.finetune_run import SearchJob, SearchResult, build_search, identity_of, place_of, run_search
from lightning_pz.jobs.finetune_settings import JobSettings, check_env, check_task
from lightning_pz.jobs.spread_runs import spread_runs
from lightning_pz.search.loop import check_budget
from lightning_pz.search.settings import SearchSettings


def finetune(jobs: JobSettings, search: SearchSettings) -> list[SearchResult]:
    """Do all runs that a command asks for, and print the closing table, also when interrupted."""
    assert jobs.checkpoint is not None
    model = load_autoencoder(jobs.checkpoint, jobs.policy)
    env_id = model.env["id"]
    check_env(env_id, jobs)
    check_task(env_id, search.task)
    search = _with_known_latents(search, model)
    tasks = task_names(env_id) if search.task == "all" else tuple(dict.fromkeys(search.task.split(",")))
    cores, count = available_cores(), len(tasks) * jobs.seeds
    for task in tasks:
        # Before the runs begin, with all cores: a ranking of the pool that all of them need.
        _, made = build_search(model, replace(search, task=task), cores, jobs.pool, jobs.logs)
        check_budget(made, search)
    threads = max(1, cores // min(jobs.workers or cores, count)) if jobs.on == "local" else 1
    fingerprint = file_digest(Path(jobs.checkpoint))
    every = [
        SearchJob(
            jobs.checkpoint,
            fingerprint,
            replace(search, task=task, seed=seed),
            jobs.logs,
            threads,
            jobs.pool,
            jobs.policy,
            jobs.loggers,
        )
        for task in tasks
        for seed in range(search.seed, search.seed + jobs.seeds)
    ]
    every = [replace(job, known=identity_of(job, model)) for job in every]
    # Finished runs are found here, since a worker takes seconds to begin.
    results, todo = _split(every, model)
    each = search.work(EnvSpec.from_dict(model.env).horizon)
    unit = "step" if not search.begins_with_updates else "update" if search.replay == 1 else "steps and update"
    with ProgressBar(total=count * each, unit=unit, unit_scale=True, progress=jobs.progress) as bar:
        try:
            bar.update(found := len(results) * each)
            draw = None if bar.disable else lambda work: bar.update(found + work - bar.n)
            place = lambda job: claim(*place_of(job, model))  # noqa: E731
            spread_runs(run_search, todo, jobs.engine, Path(jobs.logs), place=place, keep=results.append, draw=draw)
        except KeyboardInterrupt:
            bar.close()
            # Some may have ended while the others were stopped.
            told = {result.folder for result in results}
            more = filter(None, (_finished(job, model)[1] for job in todo))
            results += [replace(result, found=False) for result in more if result.folder not in told]
            _show(results, jobs, search, model.env, tasks)
            raise
    if not is_installed("onnx"):
        print("note: no policy.onnx was written: it needs the package onnx, pip install 'lightning_pz[onnx]'")
    _show(results, jobs, search, model.env, tasks)
    return results


def _with_known_latents(search: SearchSettings, model: BehaviorAutoencoder) -> SearchSettings:
    """Return the settings; with Gaussian latents, and a note, where the checkpoint holds no encodings."""
    if search.latents == "gaussian" or len(model.latent_encodings):
        return search
    if search.draws_latents:
        print(
            "note: random latents are drawn from a Gaussian, because this checkpoint was saved by an earlier version, which "
            "kept no encodings of policies: fit again for --latents density"
        )
    return replace(search, latents="gaussian")


def _split(jobs: list[SearchJob], model: BehaviorAutoencoder) -> tuple[list[SearchResult], list[SearchJob]]:
    """Return the results of finished runs, and the other jobs."""
    results: list[SearchResult] = []
    todo: list[SearchJob] = []
    for job in jobs:
        note, result = _finished(job, model)
        if result is not None:
            results.append(result)
        else:
            todo.append(job)
            if note is not None:
                print(f"note: {note}")
    return results, todo


def _finished(job: SearchJob, model: BehaviorAutoencoder) -> tuple[str | None, SearchResult | None]:
    """Return why a run is not in the folder of its plain name, if so, and its result, if it is finished."""
    parents, name, identity = place_of(job, model)
    folder = RunFolder(find(parents, name, identity), identity)
    summary = folder.summary
    return folder.note(name), None if summary is None else SearchResult(folder.path, summary, found=True)


def _show(
    results: list[SearchResult], jobs: JobSettings, search: SearchSettings, env: Mapping[str, Any], tasks: Sequence[str]
) -> None:
    """Print a row per task, and last the folder that holds the runs."""
    count = len(tasks) * jobs.seeds
    results.sort(key=lambda result: str(result.folder))
    ended = [(result, result.summary) for result in results]
    rows = []
    for task in tasks:
        if own := [summary for _, summary in ended if summary["task"] == task]:
            found = sum(result.found for result, summary in ended if summary["task"] == task)
            rows.append([*_row(task, own), str(found) if found else "-"])
    if rows:
        header = ["task", "runs", "return", "lowest", "highest", "steps", "seconds", "invalid", "reused"]
        print(f"\n{Table(header, rows).console()}")
    for result, summary in ended:
        if "ended" in summary:
            print(f"\nnote: {result.folder} ended before its budget: {summary['ended']}")
    if len(ended) < count:
        print(f"\n{count - len(ended)} of {count} runs are unfinished; the same command resumes them", file=sys.stderr)
    parent = Path(jobs.logs) / "finetune" / env_name(env["id"])
    folder = parent if len(tasks) > 1 else parent / safe_name(tasks[0])
    if count == 1 and ended:
        folder = ended[0][0].folder
    values = {"environment": env_words(env), "algorithm": search.algorithm, "budget": f"{search.budget:,} steps"}
    show_end(values, look_command(jobs.loggers, folder), folder)


def _row(task: str, summaries: list[dict[str, Any]]) -> list[str]:
    returns = [s[f"{task}/return"] for s in summaries if s[f"{task}/return"] is not None]
    three = (sum(returns) / len(returns), min(returns), max(returns)) if returns else ()

    steps, seconds = (sum(s[key] for s in summaries) / len(summaries) for key in ("env_steps", "seconds"))
    return [
        task, str(len(summaries)), *([f"{value:.2f}" for value in three] or ["-"] * 3), f"{steps:,.0f}",
        f"{seconds:.1f}", str(sum(s["invalid"] for s in summaries)),
    ]  # fmt: skip
