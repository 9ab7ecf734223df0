"""A study behind its entry point: check everything, queue it, work on it, confirm, and say what came out."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import Trial, TrialState

from lightning_pz.common.console import show_end
from lightning_pz.common.errors import UserError
from lightning_pz.envs.presets import resolve_env
from sweeps.fits import check_fits
from sweeps.options import SearchOptions, words_of
from sweeps.optuna_study import confirm
from sweeps.optuna_study.contents import contents_of
from sweeps.optuna_study.plan import Plan
from sweeps.optuna_study.reading import naming
from sweeps.optuna_study.searches import Asked
from sweeps.optuna_study.space import to_params
from sweeps.optuna_study.study import Shared
from sweeps.optuna_study.trial_tables import points_table, write_trials
from sweeps.optuna_study.trials import Context, finetune_arguments, make_pruner, run_trial, work
from sweeps.optuna_study.workers import hear_interrupts, is_orphan, side_by_side


@dataclass(frozen=True)
class _Job:
    """One study on one environment, as asked for."""

    plan: Plan
    context: Context
    policies: list[str]
    options: SearchOptions

    def open(self) -> Shared:
        shared = Shared(self.context.name, self.context.folder, self.options.storage, self.plan.direction)
        shared.study.pruner = make_pruner(self.plan)
        return shared

    @property
    def trials(self) -> int:
        return self.options.trials or self.plan.trials


def run_all(asked: Sequence[Asked]) -> None:
    """Check a study on every environment, then lead it or work on it as a process that another one has started.

    Raises:
        UserError: Something that no trial could mend; nothing has been run then.
        KeyboardInterrupt: Finished trials are kept, the others wait.
    """
    worker = asked[0].options.worker
    parent, phase = worker.split(":") if worker else ("", "")
    if phase:
        hear_interrupts()
    jobs = [_job(one) for one in asked]
    for job in jobs:
        if not phase:
            _check(job)
    for job in jobs:
        if phase:
            _work(job, phase, int(parent))
        else:
            _lead(job)


def _job(one: Asked) -> _Job:
    context = Context(one.study, one.env, one.env_name, one.options.logs, one.source)
    return _Job(one.plan, context, one.policies, one.options)


def _check(job: _Job) -> None:
    """Let the real parsers read every setting before any trial begins."""
    plan, context = job.plan, job.context
    check_fits(
        [context.make_fit(plan, point) for point in plan.corners(job.policies)], str(context.source), plan.metric
    )
    if plan.finetune is not None:
        from lightning_pz.finetune import parse
        from lightning_pz.jobs.finetune_settings import check_task

        with naming(f"{context.source}: finetune"):
            _, search = parse(finetune_arguments(plan, context, Path("best.ckpt")))
            check_task(resolve_env(context.env)["env"]["id"], search.task)
        if search.task == "all" or "," in search.task:
            raise UserError(f"{context.source}: a study expects one task for finetune, but got {search.task}")


def _identity(job: _Job) -> dict[str, Any]:
    """Return what all trials of the study must share: settings, and the content of what they name."""
    plan = job.plan
    named = {"fit": plan.fit, "policies": plan.policies, "search": plan.search, "finetune": plan.finetune}
    return plan.identity() | {"contents": contents_of(job.context.env, named)}


def _lead(job: _Job) -> None:
    """Queue what is missing, work on it here or in several processes, and tell the outcome."""
    plan, context = job.plan, job.context
    shared = job.open()
    shared.agree(_identity(job), context.source)
    if plan.sampler == "grid":
        points = plan.points(job.policies)[: job.options.trials]
        new = shared.enqueue([to_params(plan, point) for point in points])
        print(f"{context.name}: {new} new of {len(points)} trials, in {context.folder}", flush=True)
    else:
        print(f"{context.name}: {len(shared.trials())} of {job.trials} trials, in {context.folder}", flush=True)
    try:
        _phase(job, "search")
        unfinished = shared.trials(TrialState.RUNNING, TrialState.WAITING)
        if plan.confirm is not None and not unfinished and shared.trials(TrialState.COMPLETE):
            with_confirm = confirm.open_confirmation(context, job.options.storage, plan)
            with_confirm.agree(_identity(job) | {"confirm": dataclasses.asdict(plan.confirm)}, context.source)
            confirm.enqueue_candidates(with_confirm, shared, plan)
            _phase(job, "confirm")
    finally:
        _show(job, shared)


def _phase(job: _Job, phase: str) -> None:
    if job.options.workers == 1:
        _work(job, phase, None)
        return
    # One environment at a time: its workers shall not go on to the next.
    words = [job.context.study, *words_of(dataclasses.replace(job.options, env=job.context.env))]
    if side_by_side(words, job.options.workers, phase):
        raise UserError("a worker ended with an error, which stands above; the same command resumes the study")


def _work(job: _Job, phase: str, parent: int | None) -> None:
    plan, context = job.plan, job.context
    searched = job.open()
    shared = searched if phase == "search" else confirm.open_confirmation(context, job.options.storage, plan)
    sampler = (job.trials, plan.seed) if plan.sampler == "tpe" and phase == "search" else None

    def claim() -> Trial | None:
        return None if parent is not None and is_orphan(parent) else shared.claim(sampler)

    def after() -> None:
        if phase == "search":
            with shared.gate():
                write_trials(plan, shared.trials(), context.folder)
        else:
            confirm.write(plan, shared, context)

    work(
        shared,
        claim,
        functools.partial(run_trial if phase == "search" else confirm.confirm_trial, plan, context),
        after,
    )


def _show(job: _Job, shared: Shared) -> None:
    """Print counts, the values by point, and last the folder."""
    trials, folder = shared.trials(), job.context.folder
    with shared.gate():
        write_trials(job.plan, trials, folder)
    for trial in trials:
        if trial.state is TrialState.FAIL:
            print(f"trial {trial.number} failed: {trial.user_attrs.get('reason')}", file=sys.stderr)
    points = points_table(job.plan, trials, most=10 if job.plan.sampler == "tpe" else None)
    if points.rows:
        print(f"\n{job.plan.metric if job.plan.finetune is None else 'return'} by settings:\n")
        print(points.console())
    counts = {state.name.lower(): sum(trial.state is state for trial in trials) for state in TrialState}
    show_end(
        {"study": job.context.name} | {name: str(count) for name, count in counts.items() if count},
        f"{folder / 'trials.md'}; live: optuna-dashboard {job.options.storage or folder / 'journal.log'}",
        folder,
    )
