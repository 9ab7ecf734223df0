"""Does one trial: a fit, stopped early where the pruner says so, and for some studies searches with its decoder."""

from __future__ import annotations

import contextlib
import io

import lightning as L
import optuna
from optuna.trial import Trial

from lightning_pz.common.errors import UserError
from sweeps.optuna_study.plan import StudyPlan
from sweeps.optuna_study.searches import StudyRun
from sweeps.optuna_study.space import from_params, suggest

RECORDED = ("val_fvu", "test_fvu", "train_fvu", "pca_fvu", "steps", "fit_seconds")
"""Keys of a fit's summary that are user attributes of its trial."""


class PruneTrial(L.Callback):
    """Reports held-out FVU to Optuna at each validation, and stops the fit when the pruner says so."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        # A trial that resumes after a kill has reported these.
        self._reported = set(trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Report, and raise `optuna.TrialPruned` if the trial is not worth its time."""
        step = trainer.global_step
        if trainer.sanity_checking or step in self._reported:
            return
        self._reported.add(step)
        value = float(trainer.callback_metrics["val_fvu"])
        self.trial.report(value, step)
        if self.trial.should_prune():
            raise optuna.TrialPruned(f"val_fvu {value:.4f} at step {step} is worse than the median")


def make_pruner(plan: StudyPlan) -> optuna.pruners.BasePruner:
    """Return Optuna's pruner."""
    if plan.pruner == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=plan.pruner_startup, n_warmup_steps=plan.pruner_warmup)
    return optuna.pruners.NopPruner()


def run_trial(run: StudyRun, trial: Trial) -> float:
    """Do one trial of a search and return its value; `optuna.TrialPruned` stops it, a `UserError` fails it."""
    point = from_params(run.plan, suggest(trial, run.plan))
    fit = run.make_fit(point)
    paths = {"run": fit.folder, "config": fit.folder / "config.yaml", "checkpoint": fit.checkpoint}
    for key, value in ({"seed": point["seed_everything"]} | {key: str(path) for key, path in paths.items()}).items():
        trial.set_user_attr(key, value)
    summary = fit.run([PruneTrial(trial)], quiet=True)
    for key in RECORDED:
        trial.set_user_attr(key, summary[key])
    if run.plan.finetune is None:
        if run.plan.metric not in summary:
            raise UserError(f"{run.source}: metric expects a key of summary.json, but got {run.plan.metric!r}")
        return float(summary[run.plan.metric])

    from lightning_pz.finetune import parse
    from lightning_pz.jobs.finetune import finetune

    jobs, search = parse(run.finetune_arguments(fit.checkpoint))
    with contextlib.redirect_stdout(io.StringIO()):
        results = finetune(jobs, search)
    returns = [r.summary[f"{search.task}/return"] for r in results if r.summary is not None]
    if None in returns:
        raise UserError("a search ended with a policy whose simulation is not finite")
    trial.set_user_attr("task", search.task)
    trial.set_user_attr("returns", " ".join(f"{value:.6g}" for value in returns))
    return sum(returns) / len(returns)
