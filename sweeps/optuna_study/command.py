"""Runs a study: checks everything, queues its trials, works on them, confirms the best, and prints the outcome."""

from __future__ import annotations

import dataclasses
import inspect
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from lightning_pz.common.console import show_end
from lightning_pz.common.errors import UserError
from lightning_pz.common.files import file_digest
from lightning_pz.common.identity import digest, source_digest
from lightning_pz.common.processes import available_cores
from lightning_pz.common.tables import Table
from lightning_pz.envs.presets import resolve_env
from lightning_pz.envs.specs import env_spec
from lightning_pz.envs.tasks import find_task
from sweeps.crew import open_crew
from sweeps.fits import check_all
from sweeps.options import words_of
from sweeps.optuna_study import confirm, trial_tables
from sweeps.optuna_study.reading import errors_from
from sweeps.optuna_study.searches import StudyRun
from sweeps.optuna_study.space import to_params
from sweeps.optuna_study.storages import open_storage, storage_errors
from sweeps.optuna_study.study import SharedStudy
from sweeps.optuna_study.trials import make_pruner, run_trial


def run_all(runs: Sequence[StudyRun]) -> None:
    """Check a study on every environment, then lead it, or work on it in a process that another one has started."""
    with storage_errors(runs[0].options.storage):
        if worker := runs[0].options.worker:
            parent, phase = worker.split(":")
            # Also in a process that was started in the background, where SIGINT is ignored.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for run in runs:
                work_on(run, phase, lambda: os.getppid() != int(parent))
            return
        if (url := runs[0].options.storage) is not None:  # what cannot be reached is told first
            open_storage(runs[0].folder, url)
        for run in runs:
            check_run(run)
        for run in runs:
            _lead(run)


def check_run(run: StudyRun) -> None:
    """Let the real parsers read every setting before any trial begins, and refuse with a `UserError` what they refuse."""
    check_all([run.make_fit(point) for point in run.plan.corners(run.policies)], str(run.source), run.plan.metric)
    if run.plan.finetune is not None:
        from lightning_pz.finetune import parse
        from lightning_pz.jobs.finetune_settings import check_task

        with errors_from(f"{run.source}: finetune"):
            _, search = parse(run.finetune_arguments(Path("best.ckpt")))
            check_task(resolve_env(run.env)["env"]["id"], search.task)
        if search.task == "all" or "," in search.task:
            raise UserError(f"{run.source}: a study expects one task for finetune, but got {search.task}")


def study_identity(run: StudyRun) -> dict[str, Any]:
    """Return what all trials of the study must share: settings, and the content of what they name."""
    named = {key: getattr(run.plan, key) for key in ("fit", "policies", "search", "finetune")}
    return run.plan.identity() | {"fit": run.fit_settings(), "contents": contents_of(run.env, named)}


def contents_of(env: str, settings: Any) -> dict[str, str]:
    """Return a digest of the environment and of everything that settings name.

    Strings in these plain data may name a file, the folder of a pool, or a task as `module:function`.
    """
    env_id = resolve_env(env)["env"]["id"]
    found = {f"environment {env_id}": digest(env_spec(env_id).to_dict())}
    for key, text in _strings("", settings):
        path = Path(text)
        if key.endswith(".task"):
            names = [name for name in text.split(",") if ":" in name]
            found |= {f"task {name}": source_digest(inspect.unwrap(find_task(env_id, name))) for name in names}
        elif (path / "pool.json").is_file():
            found[f"pool {text}"] = file_digest(path / "pool.json")  # it holds a digest of every array
        elif text and path.is_file():
            found[f"file {text}"] = file_digest(path)
        elif text and path.is_dir() and key.endswith(".start"):
            files = sorted(path.glob("*.npz"))
            found[f"policies {text}"] = digest([[one.name, file_digest(one)] for one in files])
    return found


def _strings(place: str, plain: Any) -> Iterator[tuple[str, str]]:
    if isinstance(plain, Mapping | list):
        for key, value in plain.items() if isinstance(plain, Mapping) else ((None, one) for one in plain):
            yield from _strings(place if key is None else f"{place}.{key}", value)
    elif isinstance(plain, str):
        yield place, plain


def _open(run: StudyRun) -> SharedStudy:
    shared = SharedStudy(run.name, run.folder, run.options.storage, run.plan.direction)
    shared.study.pruner = make_pruner(run.plan)
    return shared


def _lead(run: StudyRun) -> None:
    """Queue what is missing, work on it here or in several processes, and print the outcome."""
    plan, shared = run.plan, _open(run)
    shared.agree(study_identity(run), run.source)
    if plan.sampler == "grid":
        points = plan.points(run.policies)[: run.options.trials]
        new = shared.enqueue([to_params(plan, point) for point in points])
        print(f"{run.name}: {new} new of {len(points)} trials, in {run.folder}", flush=True)
    else:
        print(f"{run.name}: {len(shared.trials())} of {run.trials} trials, in {run.folder}", flush=True)
    try:
        _run_phase(run, "search", shared)
        unfinished = shared.trials(TrialState.RUNNING, TrialState.WAITING)
        if plan.confirm is not None and not unfinished and shared.trials(TrialState.COMPLETE):
            confirmation = confirm.open_confirmation(run)
            confirmation.agree(study_identity(run) | {"confirm": dataclasses.asdict(plan.confirm)}, run.source)
            confirm.enqueue_candidates(confirmation, shared, run)
            _run_phase(run, "confirm", confirmation)
            confirm.write_candidates(run, confirmation)
    finally:
        _show(run, shared)


def _run_phase(run: StudyRun, phase: str, shared: SharedStudy) -> None:
    """Work on the phase `search` or `confirm` until no trial is left, also none of a worker that has died."""
    while True:
        if run.options.on != "local":
            _spread_workers(run, phase)
        elif run.options.workers == 1:
            work_on(run, phase)
        else:
            _run_processes(run, phase)
        if not shared.wait_for_others():
            return


def _spread_workers(run: StudyRun, phase: str) -> None:
    """Let an engine run as many copies of the same worker as are asked for; the storage joins them."""
    with open_crew(run.options, run.options.logs) as crew:
        for _ in crew.run(_join, [(run, phase)] * run.options.workers):
            pass


def _join(part: tuple[StudyRun, str]) -> None:
    run, phase = part
    with storage_errors(run.options.storage):
        work_on(run, phase)


def _run_processes(run: StudyRun, phase: str) -> None:
    """Work in processes of this machine that are each the very command that was typed."""
    count = run.options.workers
    environment = {"OMP_NUM_THREADS": str(max(1, available_cores() // count))} | dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(Path(__file__).parents[2]), environment.get("PYTHONPATH")])
    )
    # One environment at a time: its workers must not begin the next.
    words = [run.study, *words_of(dataclasses.replace(run.options, env=run.env)), "--worker", f"{os.getpid()}:{phase}"]
    command = [sys.executable, "-m", "sweeps", *words]
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    # In a session of their own, so that Ctrl-C reaches them once, through this process.
    processes = [subprocess.Popen(command, env=environment, start_new_session=True) for _ in range(count)]
    try:
        if sum(process.wait() != 0 for process in processes):
            raise UserError("a worker ended with an error, shown above; the same command resumes the study")
    except KeyboardInterrupt:  # or this process is terminated; the workers queue their trials again
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        for process in processes:
            process.wait()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def work_on(run: StudyRun, phase: str, stop: Callable[[], bool] = lambda: False) -> None:
    """Do one trial of the phase `search` or `confirm` after another until none is left or `stop` says so."""
    if phase == "confirm":
        shared = confirm.open_confirmation(run)
        shared.work(partial(confirm.confirm_trial, run), partial(confirm.write_candidates, run, shared), stop=stop)
    else:
        shared = _open(run)
        sampler = (run.trials, run.plan.seed) if run.plan.sampler == "tpe" else None
        shared.work(partial(run_trial, run), partial(_write, run, shared), sampler, stop)


def _write(run: StudyRun, shared: SharedStudy) -> None:
    with shared.gate():
        trial_tables.write_trials(run.plan, shared.trials(), run.folder)


def _show(run: StudyRun, shared: SharedStudy) -> None:
    """Print counts, the values by settings, and last the folder."""
    plan, trials = run.plan, shared.trials()
    _write(run, shared)
    for trial in shared.trials(TrialState.FAIL):
        print(f"trial {trial.number} failed: {trial.user_attrs.get('reason')}", file=sys.stderr)
    means = trial_tables.by_settings(plan, trials)
    if means.rows:
        rows, place = means.rows, means.header.index("mean")
        if plan.sampler == "tpe":
            rows = sorted(rows, key=lambda row: row[place], reverse=plan.direction == "maximize")[:10]
        print(f"\n{plan.metric if plan.finetune is None else 'return'} by settings:\n")
        print(Table([key.removeprefix("model.") for key in means.header], rows, means.formats).console())
    counts = {state.name.lower(): sum(trial.state is state for trial in trials) for state in TrialState}
    show_end(
        {"study": run.name} | {name: str(count) for name, count in counts.items() if count},
        f"{run.folder / 'trials.md'}; live: optuna-dashboard {run.options.storage or run.folder / 'journal.log'}",
        run.folder,
    )
