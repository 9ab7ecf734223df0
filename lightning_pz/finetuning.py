"""The finetune job behind its entry point: one run after another or side by side, and the closing table."""

from __future__ import annotations

import dataclasses
import hashlib
import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from lightning_pz.autoencoder.module import BehaviorAutoencoder, load_autoencoder
from lightning_pz.console import show_end, table, tqdm_disable
from lightning_pz.envs.specs import EnvSpec
from lightning_pz.envs.tasks import find_task, task_names
from lightning_pz.errors import UserError
from lightning_pz.jobs import JobSettings, check_env, check_task, env_name, slug
from lightning_pz.policy import Prior
from lightning_pz.policy.onnx_file import write_onnx
from lightning_pz.presets import resolve_env
from lightning_pz.search.algorithms import make_search
from lightning_pz.search.extras import is_installed
from lightning_pz.search.loop import check_budget, search_until_done, summarize
from lightning_pz.search.objective import Objective, Problem
from lightning_pz.search.protocol import Search
from lightning_pz.search.run_folder import RunFolder, digest
from lightning_pz.search.settings import SearchSettings
from lightning_pz.search.spaces import latent_space, parameter_space


@dataclass(frozen=True)
class Job:
    """One run: everything a worker process must know.

    Attributes:
        number: Place among the command's runs.
        checkpoint: The autoencoder.
        checkpoint_digest: SHA-256 of that file.
        settings: Of the search.
        logs: Folder for runs.
        threads: Threads that step physics.
    """

    number: int
    checkpoint: str
    checkpoint_digest: str
    settings: SearchSettings
    logs: str
    threads: int


@dataclass(frozen=True)
class Result:
    """What became of a run.

    Attributes:
        folder: Its folder.
        summary: Its summary; None if it was interrupted.
        found: Whether it was finished before.
    """

    folder: Path
    summary: dict[str, Any] | None
    found: bool = False


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
    tasks = task_names(env_id) if search.task == "all" else (search.task,)
    for task in tasks:
        _, made = build(model, replace(search, task=task), 1)
        check_budget(made, search)
    count = len(tasks) * jobs.seeds
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = min(jobs.workers or cores, count)
    fingerprint = hashlib.sha256(Path(jobs.checkpoint).read_bytes()).hexdigest()
    todo = [
        Job(
            number,
            jobs.checkpoint,
            fingerprint,
            replace(search, task=task, seed=seed),
            jobs.logs,
            max(1, cores // workers),
        )
        for number, (task, seed) in enumerate(
            (task, seed) for task in tasks for seed in range(search.seed, search.seed + jobs.seeds)
        )
    ]
    results: list[Result] = []
    with tqdm(total=count * search.budget, unit="step", unit_scale=True, disable=tqdm_disable(jobs.progress)) as bar:
        try:
            if workers == 1:
                _one_by_one(todo, results, bar)
            else:
                _side_by_side(todo, workers, results, bar)
        except KeyboardInterrupt:
            bar.close()
            _show(results, jobs, search, env_id, tasks, count)
            raise
    if not is_installed("onnx"):
        print("note: no policy.onnx was written, for it needs the package onnx: pip install 'lightning_pz[onnx]'")
    _show(results, jobs, search, env_id, tasks, count)
    return results


def build(model: BehaviorAutoencoder, settings: SearchSettings, threads: int) -> tuple[Objective, Search]:
    """Return the objective and the search of one run."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    spec = spec_of(model)
    objective = Objective(Problem(model.policy, spec, settings.task, find_task(spec.id, settings.task)), threads)
    latents = latent_space(model.decoder, model.latent_mean, model.latent_covariance)
    weights = parameter_space(Prior(**model.hparams["description"]["prior"]), model.layout)
    return objective, make_search(settings, objective, latents, weights)


def spec_of(model: BehaviorAutoencoder) -> EnvSpec:
    """Return the specification of the environment that a checkpoint was made for."""
    plain: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in model.env.items()}
    return EnvSpec(**plain)


def run(job: Job, on_steps: Callable[[int], None] = lambda steps: None) -> Result:
    """Do one run, unless it was done before.

    Raises:
        KeyboardInterrupt: As it came; the state is saved.
    """
    settings = job.settings
    model = load_autoencoder(job.checkpoint)
    tag = checkpoint_tag(job.checkpoint, job.checkpoint_digest, model)
    identity = digest(settings.identity() | {"checkpoint": job.checkpoint_digest})
    parent = Path(job.logs) / "finetune" / env_name(model.env["id"]) / slug(settings.task)
    folder = RunFolder.find(parent, f"{settings.algorithm}-{tag}-seed{settings.seed}", identity)
    with folder.lock(), _one_thread():
        if (summary := folder.summary) is not None:
            on_steps(settings.budget)
            return Result(folder.path, summary, found=True)
        folder.begin(_config(job))
        objective, search = build(model, settings, job.threads)
        progress = search_until_done(search, objective, settings, folder, on_steps)
        assert progress.best is not None
        progress.best.save(folder.path / "policy.npz")
        if is_installed("onnx"):
            write_onnx(progress.best, folder.path / "policy.onnx")
        summary = {
            "env": model.env["id"],
            "policy": model.hparams["description"]["policy"],
            "algorithm": settings.algorithm,
            "task": settings.task,
            "latent_dim": model.hparams["latent_dim"],
            "seed": settings.seed,
            "budget": settings.budget,
            **summarize(progress, objective, settings),
            "checkpoint": job.checkpoint,
        }
        folder.finish(summary)
    on_steps(settings.budget)
    return Result(folder.path, summary)


def checkpoint_tag(path: str, fingerprint: str, model: BehaviorAutoencoder) -> str:
    """Name a checkpoint in a few letters: size of its policies, latent size, and seed of its training."""
    found = re.search(r"-seed(\d+)", Path(path).resolve().parent.parent.name)
    last = f"seed{found.group(1)}" if found else fingerprint[:8]
    return f"{slug(model.hparams['description']['policy'])}-k{model.hparams['latent_dim']}-{last}"


def _config(job: Job) -> dict[str, Any]:
    """Return settings from which the command makes this very run."""
    own = {"checkpoint": job.checkpoint, "seeds": 1, "logs": job.logs}
    return own | dataclasses.asdict(job.settings)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch compute with one thread: results must not depend on how many runs share the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _one_by_one(todo: list[Job], results: list[Result], bar: tqdm) -> None:
    for place, job in enumerate(todo):
        results.append(run(job, partial(_draw, bar, place * job.settings.budget)))


def _draw(bar: tqdm, before: int, steps: int) -> None:
    bar.update(before + steps - bar.n)


def _side_by_side(todo: list[Job], workers: int, results: list[Result], bar: tqdm) -> None:
    """Run jobs in processes of one thread each; an error of one run is told after the others have ended."""
    context = multiprocessing.get_context("spawn")
    counts, stop = context.Array("q", len(todo)), context.Event()
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    executor = ProcessPoolExecutor(workers, context, initializer=_begin_worker, initargs=(counts, stop))
    pending: set[Future[Result]] = set()
    errors: list[BaseException] = []
    try:
        pending = {executor.submit(_work, job) for job in todo}
        while pending:
            done, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in done:
                if (error := future.exception()) is not None:
                    errors.append(error)
                else:
                    results.append(future.result())
            _draw(bar, 0, sum(counts[:]))
    except KeyboardInterrupt:
        # The executor hands out one job more than there are workers, which cannot be canceled any more.
        stop.set()
        for future in pending:
            future.cancel()
        for child in multiprocessing.active_children():
            if child.pid is not None:
                os.kill(child.pid, signal.SIGINT)
        wait(pending, timeout=60)
        raise
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
    results.sort(key=lambda result: str(result.folder))
    if any(result.summary is None for result in results):
        raise KeyboardInterrupt
    if errors:
        raise next((error for error in errors if isinstance(error, UserError)), errors[0])


_shared: tuple[Any, Any, bool] | None = None
"""In a worker process: environment steps of each job, whether to begin no more jobs, whether Ctrl-C means it."""


def _begin_worker(counts: Any, stop: Any) -> None:
    global _shared
    _shared = counts, stop, signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    # Between jobs there is nothing to interrupt.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _work(job: Job) -> Result:
    assert _shared is not None
    counts, stop, interruptible = _shared

    def tell(steps: int) -> None:
        counts[job.number] = steps

    if stop.is_set():
        return Result(Path(job.logs), None)
    if interruptible:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return run(job, tell)
    except KeyboardInterrupt:
        return Result(Path(job.logs), None)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


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
        print()
        print(
            table(rows, ["task", "runs", "return", "lowest", "highest", "steps", "seconds", "invalid", "there already"])
        )
    if len(ended) < count:
        print(
            f"\n{count - len(ended)} of {count} runs are unfinished; the same command goes on with them",
            file=sys.stderr,
        )
    parent = Path(jobs.logs) / "finetune" / env_name(env_id)
    folder = parent if len(tasks) > 1 else parent / slug(tasks[0])
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
