"""The best few settings of a search, measured again on training seeds that the search did not see."""

from __future__ import annotations

import json
import statistics
import warnings
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, Trial, TrialState
from scipy.stats import wilcoxon

from lightning_pz.common.files import write_text
from lightning_pz.common.tables import Table
from sweeps.optuna_study.plan import Plan
from sweeps.optuna_study.space import from_params
from sweeps.optuna_study.study import Shared
from sweeps.optuna_study.trials import Context


def open_confirmation(context: Context, url: str | None, plan: Plan) -> Shared:
    """Return the study of the confirmation, with a pruner that stops a candidate once it is worse, seed by seed."""
    assert plan.confirm is not None
    shared = Shared(f"{context.name}-confirm", context.folder, url, "minimize")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        shared.study.pruner = optuna.pruners.WilcoxonPruner(p_threshold=plan.confirm.p_threshold)
    return shared


def enqueue_candidates(shared: Shared, searched: Shared, plan: Plan) -> None:
    """Queue the settings that the search began from and its best ones, once."""
    if shared.trials():
        return
    assert plan.confirm is not None
    complete = searched.trials(TrialState.COMPLETE)
    best = sorted(complete, key=lambda trial: trial.value or 0.0, reverse=plan.direction == "maximize")
    chosen: list[FrozenTrial] = []
    for trial in best:
        if trial.params not in [other.params for other in chosen]:
            chosen.append(trial)
    points: list[dict[str, Any]] = [{"policy": next(iter(plan.policies))}]
    points += [from_params(plan, trial.params) for trial in chosen[: plan.confirm.best]]
    names = ["default", *(f"trial {trial.number}" for trial in chosen)]
    for point in points:
        point.pop("seed_everything", None)
    attrs = [{"candidate": name, "settings": json.dumps(point)} for name, point in zip(names, points, strict=False)]
    shared.enqueue([{"candidate": number} for number in range(len(points))], attrs)


def confirm_trial(plan: Plan, context: Context, trial: Trial) -> float:
    """Fit one candidate on every fresh seed and return its mean test FVU, for the held-out FVU has chosen it.

    Raises:
        optuna.TrialPruned: It is worse than the best so far on the same seeds.
    """
    assert plan.confirm is not None
    trial.suggest_int("candidate", 0, plan.confirm.best)
    point = json.loads(trial.user_attrs["settings"])
    told = trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values
    values = []
    for place, seed in enumerate(plan.confirm.seeds):
        fit = context.make_fit(plan, {**point, "seed_everything": seed})
        trial.set_user_attr(f"run_{seed}", str(fit.folder))
        values.append(float(fit.run(quiet=True)["test_fvu"]))
        if place not in told:
            trial.report(values[-1], place)
        if trial.should_prune():
            raise optuna.TrialPruned(f"worse than the best on {place + 1} seeds, mean {statistics.mean(values):.4f}")
    return statistics.mean(values)


def write(plan: Plan, shared: Shared, context: Context) -> None:
    """Write confirm.md: every candidate's values seed by seed, and its paired difference from the default settings."""
    assert plan.confirm is not None
    trials = shared.trials()
    base = trials[0].intermediate_values if trials else {}
    header = [
        "candidate",
        "state",
        "mean",
        *(f"seed {seed}" for seed in plan.confirm.seeds),
        "minus default",
        "p",
        "settings",
    ]
    lines = []
    for trial in trials:
        values = trial.intermediate_values
        shared_seeds = sorted(values.keys() & base.keys())
        differences = [values[place] - base[place] for place in shared_seeds]
        paired = ["", ""]
        if trial.number and differences:
            p = wilcoxon(differences).pvalue if any(differences) else 1.0
            paired = [f"{statistics.mean(differences):+.4f}", f"{p:.3f}"]
        lines.append([
            str(trial.user_attrs.get("candidate")), trial.state.name,
            f"{statistics.mean(values.values()):.4f}" if values else "",
            *(f"{values[place]:.4f}" if place in values else "" for place in range(len(plan.confirm.seeds))),
            *paired, str(trial.user_attrs.get("settings")),
        ])  # fmt: skip
    with shared.gate():
        write_text(context.folder / "confirm.md", Table(header, lines).markdown())
