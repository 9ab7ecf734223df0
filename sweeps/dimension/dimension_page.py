"""The tables of the dimension report and its Markdown page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lightning_pz.common.statistics import FEWEST
from lightning_pz.common.tables import Table
from sweeps.dimension.conclusions import conclusions, with_error
from sweeps.dimension.findings import Findings, Probe
from sweeps.dimension.rules import reached
from sweeps.options import ReportOptions

_SPACES = {"behavior": "behaviors", "latent": "latents", "map": "decoder"}
_HEADINGS = {
    "behavior": "behaviors of the pool (Gaussian, same spectrum)",
    "latent": "latents (Gaussian, same spectrum)",
    "map": "decoder, per standard deviation of the latents",
}


def dimensions_table(results: Sequence[Findings], tau: float) -> Table:
    """Return the behavior dimensions beside what they are compared with."""
    header = [
        "environment", "policy", "runs", "prior", "seeds", "policies", f"k for FVU <= {tau:g} [95 %]", "not enough",
        "marginal rule [95 %]", "FVU at the largest k", "PCA floor", "affine numbers (FVU)", "2 x action size + 1",
    ]  # fmt: skip
    rows = []
    for r in results:
        value, low, high = r.curve[-1]
        rows.append([
            r.group.env, r.group.policy, r.group.kind, r.prior, len({int(run.summary["seed"]) for run in r.group.runs}), len(r.group.runs[0].rows),
            r.behavior.text(), r.behavior.before or "-", r.marginal.text(),
            f"{value:.3f} [{low:.3f}, {high:.3f}] at {r.sizes[-1]}", reached(r.pca_floor, max(r.pca, default=0)) + r.note,
            f"{r.affine} ({r.affine_fvu:.3f}){r.note}", r.reachable or "unknown",
        ])  # fmt: skip
    return Table(header, rows)


def tasks_table(results: Sequence[Findings]) -> Table:
    """Return the task-recovery dimensions."""
    rows: dict[tuple[str, ...], list[Any]] = {}
    for r in results:
        for task in r.tasks:
            # Fits of other studies stand for every group of a policy size, encoder and loss; once is enough.
            key = (r.group.env, r.group.policy, task.task, r.group.label if task.own else task.model)
            others = ", ".join(["of other studies", f"pool {task.pool}", *filter(None, [task.model])])
            fits = "of this study" if task.own else others
            rows.setdefault(key, [*key[:3], task.text(), f"{task.best:.2f}", task.metric, task.seeds, fits])
    header = ["environment", "policy", "task", "task-recovery dimension [by interval ends]", "recovery there"]
    return Table([*header, "measured by", "seeds", "fits"], list(rows.values()))


def estimates_table(results: Sequence[Findings]) -> Table:
    """Return every estimate with its standard error and its surrogate, the prior beside it."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for r in results:
        for p in r.probes:
            of_pool = p.space == "behavior"  # and not of the runs
            key = (r.group.runs[0].pool, p.name) if of_pool else (r.group.label, r.group.env, p.space, p.name)
            kind = "any" if of_pool else f"{r.group.kind}, k = {r.sizes[-1]}"
            own, surrogate = with_error(p.value, p.error), with_error(p.surrogate, p.surrogate_error)
            row = [r.group.env, r.group.policy, kind, r.prior, _SPACES[p.space], p.name, own, surrogate]
            rows.setdefault(key, row)
    header = ["environment", "policy", "runs", "prior", "space", "estimator", "estimate", "Gaussian, same spectrum"]
    return Table(header, list(rows.values()))


def curves_table(results: Sequence[Findings]) -> Table:
    """Return FVU at every latent size with its interval and PCA's."""
    rows = []
    for r in results:
        for size, fvu in zip(r.sizes, r.curve, strict=True):
            pca = f"{r.pca[size]:.6g}" if size in r.pca else None
            rows.append(
                [
                    r.group.env,
                    r.group.policy,
                    r.group.kind,
                    size,
                    *(f"{number:.6g}" for number in fvu),
                    pca,
                    r.references,
                ]
            )
    header = ["environment", "policy", "runs", "k", "fvu", "fvu_low", "fvu_high", "pca_fvu", "pca_policies"]
    return Table(header, rows)


def _estimates_by_space(results: Sequence[Findings]) -> str:
    """Return the estimates of one environment: a row per estimator, a column per policy size or run."""
    parts = []
    for space, heading in _HEADINGS.items():
        columns: dict[str, Findings] = {}
        for r in results:
            of_pool = f"{r.group.policy}, prior {r.prior}"
            columns.setdefault(of_pool if space == "behavior" else f"{r.group.label}, k = {r.sizes[-1]}", r)
        names = list(dict.fromkeys(p.name for r in columns.values() for p in r.probes if p.space == space))
        rows = [[name, *(_with_surrogate(r.probe(space, name)) for r in columns.values())] for name in names]
        if rows:
            parts.append(Table([heading, *columns], rows).markdown())
    return "\n".join(parts) or "No run has a probes.json: fit with --probes.enabled true.\n"


def _with_surrogate(probe: Probe | None) -> str:
    if probe is None or not math.isfinite(probe.surrogate):
        return with_error(probe.value, probe.error) if probe else "-"
    return f"{with_error(probe.value, probe.error)} ({with_error(probe.surrogate, probe.surrogate_error)})"


def dimension_page(study: str, results: Sequence[Findings], options: ReportOptions) -> str:
    """Return the whole report."""
    envs = list(dict.fromkeys(r.group.env for r in results))
    parts = [
        f"# How many dimensions has behavior? Study `{study}`\n",
        "Two quantities, which need not agree. The *behavior dimension* is the smallest latent size k whose decoder keeps "
        f"{1 - options.tau:.0%} of the action variance of held-out policies on held-out states (FVU <= {options.tau:g}). The "
        "*task-recovery dimension* is the smallest k whose latent space holds a policy as good on a task as the best of the pool's "
        "held-out policies that were played, at most 500 by default: the whole pool may hold better ones. "
        f"Intervals are 95 %, by a paired bootstrap over held-out policies and Student's t over training seeds ({options.draws:,} draws); where whole climbs were held out, over climbs, of which "
        "there are few: their intervals are of these climbs. Both, and "
        "every estimate below, hold for the prior beside them: another prior is another population of policies.\n",
        "## Behavior dimension\n",
        dimensions_table(results, options.tau).markdown(),
        "`not enough`: the next smaller k that was tried; the grid of k decides between it and the answer. `> k`: not reached "
        "by the largest k that was tried. PCA floor: components of PCA on the actions of training policies, fitted to the very "
        "held-out states, among the sizes that were measured."
        + " (val): of the policies that chose the checkpoint, not of those of the FVU, as earlier versions measured it.\n"
        * any(r.note for r in results),
        "## Task-recovery dimension\n",
    ]
    if (tasks := tasks_table(results)).rows:
        parts += [
            tasks.markdown(),
            f"The smallest k whose mean recovery of the best is at least {1 - options.tolerance:g}; (in "
            f"parentheses) by the range over fewer than {FEWEST} seeds. `recovery_best_fresh` is of fresh episodes that chose "
            "neither policy. `recovery_best`, where an evaluation is older than that, is of the episodes that chose both, whose "
            "noise draws it to 1: there the dimension may be too small. Evaluate again to know.\n",
        ]
    if missing := [r for r in results if not any(task.own for task in r.tasks)]:
        runs = missing[0].group.runs
        paths = " ".join(str(run.folder / "checkpoints" / "best.ckpt") for run in runs[:3]) + " ..." * (len(runs) > 3)
        parts.append(
            "Not evaluated, so without a task-recovery dimension of their own: "
            f"{'; '.join(f'{r.group.env}, {r.group.label}' for r in missing)}. Evaluate and write the report again, say\n\n"
            f"    python -m lightning_pz.evaluate --checkpoint {paths}\n"
        )
    parts += [f"## {env}\n\n![{env}](figures/{env}.png)\n" for env in envs]
    if len(results) > 1:
        parts += ["## Across environments and policy sizes\n\n![overview](figures/overview.png)\n"]
    parts += ["## Estimates of intrinsic dimension\n"]
    for env in envs:
        parts.append(f"### {env}\n\n{_estimates_by_space([r for r in results if r.group.env == env and r.probes])}")
    parts += ["## What follows, and what does not\n", conclusions(results)]
    return "\n".join(parts)
