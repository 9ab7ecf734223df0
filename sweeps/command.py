"""A study behind its entry point: check everything, queue it, work on it, confirm, and say what came out."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from optuna.trial import Trial, TrialState

from lightning_pz.console import show_end, table
from lightning_pz.errors import UserError
from lightning_pz.presets import conf_dir, resolve_env
from sweeps import confirm, tables
from sweeps.plan import Plan, choose_policies, load_plan, read_study
from sweeps.space import to_params
from sweeps.study import Shared
from sweeps.trials import Context, finetune_arguments, make_pruner, run_trial, work
from sweeps.workers import cores, hear_interrupts, is_orphan, side_by_side


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{self.prog}: {message}")


@dataclass(frozen=True)
class _Job:
    """One study on one environment, as asked for."""

    plan: Plan
    context: Context
    policies: list[str]
    options: argparse.Namespace

    def open(self) -> Shared:
        shared = Shared(self.context.name, self.context.folder, self.options.storage, self.plan.direction)
        shared.study.pruner = make_pruner(self.plan)
        return shared

    @property
    def trials(self) -> int:
        return self.options.trials or self.plan.trials


def run(study: str, arguments: list[str]) -> None:
    """Run or join a study.

    Args:
        study: Name of its file in `conf/sweep/`.
        arguments: What came after that name on the command line.

    Raises:
        UserError: Something that no trial could mend; nothing has been run then.
        KeyboardInterrupt: As it came; finished trials are kept, the others wait.
    """
    options = _parse(study, arguments)
    path = Path(options.grid) if options.grid else conf_dir() / "sweep" / f"{study}.yaml"
    listed: list[str] = [options.env] if options.env else read_study(path).get("environments", [])
    if not listed:
        raise UserError("which environment? Give --env with a preset or a Gymnasium id")
    parent, phase = options.worker.split(":") if options.worker else ("", "")
    if phase:
        hear_interrupts()
    jobs = [_job(study, env, path, options) for env in listed]
    for job in jobs:
        if not phase:
            _check(job)
    for job in jobs:
        if phase:
            _work(job, phase, int(parent))
        else:
            _lead(job, study, arguments)


def _parse(study: str, arguments: list[str]) -> argparse.Namespace:
    parser = _Parser(prog=f"python -m sweeps {study}", allow_abbrev=False)
    parser.add_argument("--env", help="preset or Gymnasium id")
    parser.add_argument("--policy", help="some of the study's policies, such as small,medium")
    parser.add_argument("--logs", default="logs", help="folder for pools, runs and studies")
    parser.add_argument("--storage", help="URL of a database; a journal file in the study's folder if not given")
    parser.add_argument("--trials", type=int, help="trials in all (tpe), or only the first points (grid)")
    parser.add_argument("--workers", type=int, default=min(2, cores()), help="processes side by side")
    parser.add_argument("--grid", help="another file than the shipped conf/sweep/STUDY.yaml")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    for name in ("trials", "workers"):
        if (value := getattr(options, name)) is not None and value < 1:
            raise UserError(f"--{name} expects at least 1, but got {value}")
    return options


def _job(study: str, env: str, path: Path, options: argparse.Namespace) -> _Job:
    env_name = resolve_env(env)["env"]["name"]
    plan = load_plan(path, env_name)
    policies = choose_policies(plan, options.policy)
    if plan.sampler == "tpe":
        plan = dataclasses.replace(plan, policies={name: plan.policies.get(name, {}) for name in policies})
    return _Job(plan, Context(study, env, env_name, options.logs, path), policies, options)


def _check(job: _Job) -> None:
    """Let the real parsers read every setting before any trial begins."""
    plan, context = job.plan, job.context
    if plan.confirm is not None:
        confirm.check_confirm(plan.confirm, plan, context.source)
    for point in plan.corners(job.policies):
        context.make_fit(plan, point).check(str(context.source))
    if plan.finetune is not None:
        from lightning_pz.finetune import parse
        from lightning_pz.jobs import check_task

        try:
            _, search = parse(finetune_arguments(plan, context, Path("best.ckpt")))
            search.check()
            check_task(resolve_env(context.env)["env"]["id"], search.task)
        except SystemExit as stop:
            raise UserError(f"{context.source}: finetune refuses the settings {plan.finetune}") from stop
        if search.task == "all":
            raise UserError(f"{context.source}: a study expects one task for finetune, but got all")


def _lead(job: _Job, study: str, arguments: list[str]) -> None:
    """Queue what is missing, work on it here or in several processes, and tell the outcome."""
    plan, context = job.plan, job.context
    shared = job.open()
    shared.agree(plan.identity(), context.source)
    if plan.sampler == "grid":
        points = plan.points(job.policies)[: job.options.trials]
        new = shared.enqueue([to_params(plan, point) for point in points])
        print(f"{context.name}: {new} new of {len(points)} trials, in {context.folder}", flush=True)
    else:
        print(f"{context.name}: {len(shared.trials())} of {job.trials} trials, in {context.folder}", flush=True)
    try:
        _phase(job, study, arguments, "search")
        unfinished = shared.trials(TrialState.RUNNING, TrialState.WAITING)
        if plan.confirm is not None and not unfinished and shared.trials(TrialState.COMPLETE):
            with_confirm = confirm.open_confirmation(context, job.options.storage, plan)
            confirm.enqueue_candidates(with_confirm, shared, plan)
            _phase(job, study, arguments, "confirm")
    finally:
        _show(job, shared)


def _phase(job: _Job, study: str, arguments: list[str], phase: str) -> None:
    if job.options.workers == 1:
        _work(job, phase, None)
        return
    # One environment at a time: its workers shall not go on to the next.
    words = [study, *arguments, "--env", job.context.env]
    if side_by_side(words, job.options.workers, phase):
        raise UserError("a worker ended with an error, which stands above; the same command goes on with the study")


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
                tables.write(plan, shared.trials(), context.folder)
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
        tables.write(job.plan, trials, folder)
    for trial in trials:
        if trial.state is TrialState.FAIL:
            print(f"trial {trial.number} failed: {trial.user_attrs.get('reason')}", file=sys.stderr)
    by_point = tables.grouped(job.plan, trials)
    if by_point:
        if job.plan.sampler == "tpe":
            by_point = sorted(by_point, key=lambda item: item[1], reverse=job.plan.direction == "maximize")[:10]
        header = ["policy", *(key.removeprefix("model.") for key in job.plan.search), "trials", "mean", "SD"]
        lines = [[*(_cell(value) for value in point), *tables.spread(values)] for point, values in by_point]
        print(f"\n{job.plan.metric if job.plan.finetune is None else 'return'} by settings:\n")
        print(table(lines, header))
    counts = {state.name.lower(): sum(trial.state is state for trial in trials) for state in TrialState}
    show_end(
        {"study": job.context.name} | {name: str(count) for name, count in counts.items() if count},
        f"{folder / 'trials.md'}; live: optuna-dashboard {job.options.storage or folder / 'journal.log'}",
        folder,
    )


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
