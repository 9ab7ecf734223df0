"""The report in Markdown, and its tables as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from lightning_pz.common.statistics import FEWEST
from sweeps.dimension.analysis import Probe, Result, Settings
from sweeps.dimension.words import or_more, with_error, words

Rows = list[list[str]]
_SPACES = {"behavior": "behaviors", "latent": "latents", "map": "decoder"}
_HEADINGS = {
    "behavior": "behaviors of the pool (Gaussian, same spectrum)",
    "latent": "latents (Gaussian, same spectrum)",
    "map": "decoder, per standard deviation of the latents",
}


def dimension_rows(results: Sequence[Result], tau: float) -> Rows:
    """Return the behavior dimensions beside what they are read against, a header first."""
    rows = [[
        "environment", "policy", "runs", "prior", "seeds", "policies", f"k for FVU <= {tau:g} [95 %]", "not enough",
        "marginal rule [95 %]", "FVU at the largest k", "PCA floor", "affine numbers (FVU)", "2 x action size + 1",
    ]]  # fmt: skip
    for r in results:
        value, low, high = r.curve[-1]
        rows.append([
            r.group.env, r.group.policy, r.group.label.removeprefix(f"{r.group.policy}, "), r.prior, str(len(r.group.seeds)),
            str(len(r.group.runs[0].rows)), r.behavior.text(), str(r.behavior.before or "-"), r.marginal.text(),
            f"{value:.3f} [{low:.3f}, {high:.3f}] at {r.sizes[-1]}", or_more(r.pca_floor, max(r.pca, default=0)),
            f"{r.affine} ({r.affine_fvu:.3f})", "unknown" if r.reachable is None else str(r.reachable),
        ])  # fmt: skip
    return rows


def task_rows(results: Sequence[Result]) -> Rows:
    """Return the task-recovery dimensions, a header first."""
    rows = [
        [
            "environment",
            "policy",
            "task",
            "task-recovery dimension [by interval ends]",
            "recovery_best there",
            "seeds",
            "fits",
        ]
    ]
    done = set()
    for r in results:
        for task in r.tasks:
            # Fits of other studies stand for every group of a policy size; once is enough.
            key = (r.group.env, r.group.policy, task.task, r.group.label if task.own else "")
            if key not in done:
                done.add(key)
                fits = "of this study" if task.own else f"of other studies, pool {task.pool}"
                rows.append([*key[:3], task.text(), f"{task.best:.2f}", str(task.seeds), fits])
    return rows


def estimate_rows(results: Sequence[Result]) -> Rows:
    """Return every estimate with its standard error and its surrogate, the prior beside it, a header first."""
    rows = [["environment", "policy", "runs", "prior", "space", "estimator", "estimate", "Gaussian, same spectrum"]]
    told = set()
    for r in results:
        for probe in r.probes:
            # Behaviors belong to the pool, not to the runs.
            key = (
                (r.group.runs[0].pool, probe.name)
                if probe.space == "behavior"
                else (r.group.label, r.group.env, probe.space, probe.name)
            )
            if key in told:
                continue
            told.add(key)
            kind = "any" if probe.space == "behavior" else f"{r.group.label.split(', ', 1)[1]}, k = {r.sizes[-1]}"
            rows.append([
                r.group.env, r.group.policy, kind, r.prior, _SPACES[probe.space], probe.name, with_error(probe.value, probe.error),
                with_error(probe.surrogate, probe.surrogate_error),
            ])  # fmt: skip
    return rows


def estimate_tables(env: str, results: Sequence[Result]) -> str:
    """Return the estimates of one environment for the eye: a row per estimator, a column per policy size or run."""
    mine = [r for r in results if r.group.env == env and r.probes]
    parts = []
    for space, heading in _HEADINGS.items():
        columns: dict[str, Result] = {}
        for r in mine:
            # Behaviors belong to the pool, not to the runs.
            label = (
                f"{r.group.policy}, prior {r.prior}" if space == "behavior" else f"{r.group.label}, k = {r.sizes[-1]}"
            )
            columns.setdefault(label, r)
        names = list(dict.fromkeys(p.name for r in columns.values() for p in r.probes if p.space == space))
        rows = [[heading, *columns]]
        for name in names:
            found = [r.probe(space, name) for r in columns.values()]
            rows.append([name, *("-" if p is None else _beside(p) for p in found)])
        if names:
            parts.append(table(rows))
    return "\n".join(parts) or "No run has a probes.json: fit with --probes.enabled true.\n"


def curve_rows(results: Sequence[Result]) -> Rows:
    """Return FVU at every latent size with its interval and PCA's, a header first."""
    rows = [["environment", "policy", "runs", "k", "fvu", "fvu_low", "fvu_high", "pca_fvu"]]
    for r in results:
        for size, (value, low, high) in zip(r.sizes, r.curve, strict=True):
            pca = f"{r.pca[size]:.6g}" if size in r.pca else ""
            kind = r.group.label.removeprefix(f"{r.group.policy}, ")
            rows.append(
                [r.group.env, r.group.policy, kind, str(size), f"{value:.6g}", f"{low:.6g}", f"{high:.6g}", pca]
            )
    return rows


def report(study: str, results: Sequence[Result], settings: Settings) -> str:
    """Return the whole report."""
    parts = [f"# How many dimensions has behavior? Study `{study}`\n", _preface(settings)]
    envs = list(dict.fromkeys(r.group.env for r in results))
    parts += ["## Behavior dimension\n", table(dimension_rows(results, settings.tau))]
    parts.append(
        "`not enough`: the next smaller k that was tried; the grid of k decides between it and the answer. `> k`: not reached "
        "by the largest k that was tried. PCA floor: components of PCA on the actions of training policies, fitted to the very "
        "held-out states, among the sizes that were measured.\n"
    )
    tasks = task_rows(results)
    parts += ["## Task-recovery dimension\n"]
    if len(tasks) > 1:
        parts += [
            table(tasks),
            f"The smallest k whose mean `recovery_best` is at least {1 - settings.tolerance:g}; (in "
            f"parentheses) by the range over fewer than {FEWEST} seeds.\n",
        ]
    parts += [_to_evaluate(results)]
    parts += [f"## {env}\n\n![{env}](figures/{env}.png)\n" for env in envs]
    if len(results) > 1:
        parts += ["## Across environments and policy sizes\n\n![overview](figures/overview.png)\n"]
    parts += ["## Estimates of intrinsic dimension\n"]
    parts += [f"### {env}\n\n{estimate_tables(env, results)}" for env in envs]
    parts += ["## What follows, and what does not\n", words(results, settings)]
    return "\n".join(part for part in parts if part)


def _preface(settings: Settings) -> str:
    return (
        "Two quantities, which need not agree. The *behavior dimension* is the smallest latent size k whose decoder keeps "
        f"{1 - settings.tau:.0%} of the action variance of held-out policies on held-out states (FVU <= {settings.tau:g}). The "
        "*task-recovery dimension* is the smallest k whose latent space holds a policy as good as the pool's best on a task. "
        f"Intervals are 95 %, by a paired bootstrap over held-out policies and Student's t over training seeds ({settings.draws:,} draws). Both, and "
        "every estimate below, hold for the prior that stands beside them: another prior is another population of policies.\n"
    )


def _to_evaluate(results: Sequence[Result]) -> str:
    missing = [r for r in results if not any(task.own for task in r.tasks)]
    if not missing:
        return ""
    named = "; ".join(f"{r.group.env}, {r.group.label}" for r in missing)
    runs = missing[0].group.runs
    checkpoints = " ".join(str(run.folder / "checkpoints" / "best.ckpt") for run in runs[:3]) + " ..." * (len(runs) > 3)
    return (
        f"Not evaluated, so without a task-recovery dimension of their own: {named}. Evaluate and write the report again, say\n\n"
        f"    python -m lightning_pz.evaluate --checkpoint {checkpoints}\n"
    )


def table(rows: Rows) -> str:
    """Return rows as a Markdown table, the first one its header."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]) + "\n"


def as_csv(rows: Rows) -> str:
    """Return rows as CSV."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()


def _beside(probe: Probe) -> str:
    surrogate = f" ({with_error(probe.surrogate, probe.surrogate_error)})" if math.isfinite(probe.surrogate) else ""
    return with_error(probe.value, probe.error) + surrogate
