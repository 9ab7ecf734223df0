"""What one trial does: a fit, stopped early where the pruner says so, and for some studies searches with its decoder."""

from __future__ import annotations

import contextlib
import io
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import optuna
from optuna.trial import Trial, TrialState

from lightning_pz.common.errors import UserError
from sweeps.fits import Fit
from sweeps.optuna_study.plan import Plan
from sweeps.optuna_study.space import distributions, from_params, suggest
from sweeps.optuna_study.study import Shared

TOLD = ("val_fvu", "test_fvu", "train_fvu", "pca_fvu", "steps", "fit_seconds")
"""Keys of a fit's summary that stand on its trial."""


@dataclass(frozen=True)
class Context:
    """What a study needs beside its plan.

    Attributes:
        study: Its name.
        env: Preset or Gymnasium id.
        env_name: Its short name.
        logs: Folder for pools and runs.
        source: The file of the plan.
    """

    study: str
    env: str
    env_name: str
    logs: str
    source: Path

    @property
    def name(self) -> str:
        """Name of the study in its storage, and of its folder."""
        return f"{self.study}-{self.env_name}"

    @property
    def folder(self) -> Path:
        """Where journal and tables lie."""
        return Path(self.logs) / "sweeps" / self.name

    def make_fit(self, plan: Plan, point: dict[str, Any]) -> Fit:
        """Return the fit of a point."""
        return plan.make_fit(self.study, self.env, self.env_name, self.logs, point)


class PruneTrial(L.Callback):
    """Reports held-out FVU to Optuna at each validation, and stops the fit when the pruner says so.

    Args:
        trial: The trial that the fit belongs to.
    """

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        # A trial that resumes after a kill has reported these.
        self._told = set(trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Report, and perhaps stop.

        Raises:
            optuna.TrialPruned: The trial is not worth its time.
        """
        step = trainer.global_step
        if trainer.sanity_checking or step in self._told:
            return
        self._told.add(step)
        value = float(trainer.callback_metrics["val_fvu"])
        self.trial.report(value, step)
        if self.trial.should_prune():
            raise optuna.TrialPruned(f"val_fvu {value:.4f} at step {step} is worse than the median")


def make_pruner(plan: Plan) -> optuna.pruners.BasePruner:
    """Return Optuna's pruner."""
    if plan.pruner == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=plan.pruner_startup, n_warmup_steps=plan.pruner_warmup)
    return optuna.pruners.NopPruner()


def work(
    shared: Shared, claim: Callable[[], Trial | None], do: Callable[[Trial], float], after: Callable[[], None]
) -> None:
    """Take one trial after another until there is none left.

    Args:
        shared: The study.
        claim: Takes a trial.
        do: Does it and returns its value.
        after: Called when a trial has ended, whichever way.

    Raises:
        KeyboardInterrupt: The trial waits again.
    """
    while (trial := claim()) is not None:
        start = time.process_time()
        try:
            value = do(trial)
            if not math.isfinite(value):
                raise UserError(f"its value became {value}")
            trial.set_user_attr("cpu_seconds", round(time.process_time() - start, 1))
            shared.tell(trial, value, TrialState.COMPLETE)
            print(f"trial {trial.number}: {value:.4f}  {_say(trial.params)}", flush=True)
        except optuna.TrialPruned as stop:
            trial.set_user_attr("cpu_seconds", round(time.process_time() - start, 1))
            shared.tell(trial, None, TrialState.PRUNED, str(stop))
            print(f"trial {trial.number}: stopped, {stop}  {_say(trial.params)}", flush=True)
        except UserError as error:
            shared.tell(trial, None, TrialState.FAIL, str(error))
            print(f"trial {trial.number}: failed, {error}", flush=True)
        except Exception as error:
            shared.tell(trial, None, TrialState.FAIL, f"{type(error).__name__}: {error}")
            raise
        except BaseException:
            shared.put_back(trial)
            raise
        finally:
            after()


def run_trial(plan: Plan, context: Context, trial: Trial) -> float:
    """Do one trial of a search and return its value.

    Raises:
        optuna.TrialPruned: It was stopped.
        UserError: It cannot be done.
    """
    point = from_params(plan, suggest(trial, distributions(plan)))
    fit = context.make_fit(plan, point)
    _describe(trial, fit, point["seed_everything"])
    summary = fit.run([PruneTrial(trial)], quiet=True)
    for key in TOLD:
        trial.set_user_attr(key, summary[key])
    if plan.finetune is not None:
        return _finetune(plan, context, fit, trial)
    if plan.metric not in summary:
        raise UserError(f"{context.source}: metric expects a key of summary.json, but got {plan.metric!r}")
    return float(summary[plan.metric])


def _describe(trial: Trial, fit: Fit, seed: int) -> None:
    attrs = {
        "seed": seed, "run": fit.folder, "config": fit.folder / "config.yaml", "checkpoint": fit.checkpoint,
    }  # fmt: skip
    for key, value in attrs.items():
        trial.set_user_attr(key, value if isinstance(value, int) else str(value))


def finetune_arguments(plan: Plan, context: Context, checkpoint: Path) -> list[str]:
    """Return the arguments of `finetune` for a decoder."""
    assert plan.finetune is not None
    arguments = ["--checkpoint", str(checkpoint), "--logs", context.logs, "--workers", "1", "--progress", "false"]
    return arguments + [f"--{key}={value}" for key, value in plan.finetune.items()]


def _finetune(plan: Plan, context: Context, fit: Fit, trial: Trial) -> float:
    from lightning_pz.finetune import parse
    from lightning_pz.jobs.finetune import finetune

    jobs, search = parse(finetune_arguments(plan, context, fit.checkpoint))
    with contextlib.redirect_stdout(io.StringIO()):
        results = finetune(jobs, search)
    returns = [r.summary[f"{search.task}/return"] for r in results if r.summary is not None]
    if None in returns:
        raise UserError("a search ended with a policy whose simulation is not finite")
    trial.set_user_attr("task", search.task)
    trial.set_user_attr("returns", " ".join(f"{value:.6g}" for value in returns))
    return sum(returns) / len(returns)


def _say(params: dict[str, Any]) -> str:
    return ", ".join(
        f"{key.removeprefix('model.')} {value:.4g}"
        if isinstance(value, float)
        else f"{key.removeprefix('model.')} {value}"
        for key, value in params.items()
    )
