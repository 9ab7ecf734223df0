"""Measures the best few settings of a search again, on training seeds that the search did not see."""

from __future__ import annotations

import json
import statistics
from typing import Any

import optuna
from optuna.trial import Trial, TrialState
from scipy.stats import wilcoxon

from lightning_pz.common.files import write_text
from lightning_pz.common.identity import digest
from lightning_pz.common.tables import Table
from sweeps.optuna_study.searches import StudyRun
from sweeps.optuna_study.space import from_params
from sweeps.optuna_study.storages import accept_experimental
from sweeps.optuna_study.study import SharedStudy


def open_confirmation(run: StudyRun) -> SharedStudy:
    """Return the study of the confirmation, with a pruner that stops a candidate once it is worse, seed by seed."""
    assert run.plan.confirm is not None
    shared = SharedStudy(f"{run.name}-confirm", run.folder, run.options.storage, "minimize")
    with accept_experimental():
        shared.study.pruner = optuna.pruners.WilcoxonPruner(p_threshold=run.plan.confirm.p_threshold)
    return shared


def enqueue_candidates(shared: SharedStudy, searched: SharedStudy, run: StudyRun) -> None:
    """Queue the settings that the search began from and its best ones, each once, also after the search has gone on."""
    plan = run.plan
    if plan.confirm is None:
        return
    complete = searched.trials(TrialState.COMPLETE)
    best: dict[str, dict[str, Any]] = {}
    for trial in sorted(complete, key=lambda trial: trial.value or 0.0, reverse=plan.direction == "maximize"):
        if trial.params not in best.values():
            best[f"trial {trial.number}"] = trial.params
    points: dict[str, dict[str, Any]] = {"default": {"policy": next(iter(plan.policies))}}
    for name, params in list(best.items())[: plan.confirm.best]:
        points[name] = {key: value for key, value in from_params(plan, params).items() if key != "seed_everything"}
    attrs = [{"candidate": name, "settings": json.dumps(point)} for name, point in points.items()]
    # Earlier versions numbered candidates by their place.
    queued = [trial for trial in shared.trials() if "settings" in trial.user_attrs]
    known = {_key(trial.user_attrs["settings"]): trial.system_attrs["fixed_params"] for trial in queued}
    keys = [_key(each["settings"]) for each in attrs]
    shared.enqueue([known.get(key, {"candidate": key}) for key in keys], attrs)
    shared.study.set_user_attr("candidates", keys)


def _key(settings: str) -> int:
    """Return the number by which a candidate is known: that of its settings."""
    return int(digest(json.loads(settings))[:8], 16)


def confirm_trial(run: StudyRun, trial: Trial) -> float:
    """Fit one candidate on every fresh seed and return its mean test FVU, for the held-out FVU has chosen it."""
    assert run.plan.confirm is not None
    trial.suggest_int("candidate", 0, 16**8 - 1)
    point = json.loads(trial.user_attrs["settings"])
    reported = trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values
    values = []
    for place, seed in enumerate(run.plan.confirm.seeds):
        fit = run.make_fit({**point, "seed_everything": seed})
        trial.set_user_attr(f"run_{seed}", str(fit.folder))
        values.append(float(fit.run(quiet=True)["test_fvu"]))
        if place not in reported:
            trial.report(values[-1], place)
        if trial.should_prune():
            raise optuna.TrialPruned(f"worse than the best on {place + 1} seeds, mean {statistics.mean(values):.4f}")
    return statistics.mean(values)


def write_candidates(run: StudyRun, shared: SharedStudy) -> None:
    """Write confirm.md: every candidate's values seed by seed, and its paired difference from the default settings.

    Settings that were candidates before the search went on keep their row, which says so.
    """
    assert run.plan.confirm is not None
    seeds = [f"seed {seed}" for seed in run.plan.confirm.seeds]
    rows: list[list[Any]] = []
    base: dict[int, float] = {}
    candidates = shared.study.user_attrs.get("candidates")  # of this moment
    for trial in shared.trials():
        values = trial.intermediate_values
        base = base or (values if not rows else {})
        differences = [values[place] - base[place] for place in sorted(values.keys() & base.keys())]
        mean, p = None, None
        if rows and differences:
            mean = f"{statistics.mean(differences):+.4f}"
            p = f"{wilcoxon(differences).pvalue if any(differences) else 1.0:.3f}"
        candidate, settings = map(trial.user_attrs.get, ("candidate", "settings"))
        if settings is not None and candidates is not None and _key(settings) not in candidates:
            candidate = f"{candidate}, no longer among the best"
        own = [candidate, trial.state.name, statistics.mean(values.values()) if values else None]
        rows.append([*own, *map(values.get, range(len(seeds))), mean, p, settings])
    header = ["candidate", "state", "mean", *seeds, "minus default", "p", "settings"]
    with shared.gate():
        write_text(run.folder / "confirm.md", Table(header, rows, dict.fromkeys(("mean", *seeds), ".4f")).markdown())
