"""One loop for every algorithm: take a generation, evaluate the incumbent, log, save, go on after an interruption."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from lightning_pz.common.errors import UserError
from lightning_pz.common.statistics import mean_interval
from lightning_pz.policy import Layout
from lightning_pz.policy.saved import SavedPolicy
from lightning_pz.search.objective import EVALUATION_SEEDS, TEST_SEEDS, Objective
from lightning_pz.search.optimizers.protocol import Generation, Search
from lightning_pz.search.run_folder import COLUMNS, RunFolder
from lightning_pz.search.settings import SearchSettings

BARREN = 10
"""Generations one after another without an episode that stays finite, after which a search ends: it has nothing to follow."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands; plain data but for the search's own state.

    Attributes:
        search: The search's state; None where it cannot be saved.
        env_steps: Environment steps taken to search.
        seconds: Wall time, evaluation included, over all sittings.
        invalid: Policies that turned non-finite so far.
        barren: Generations, up to this one, in a row without an episode that stayed finite.
        evaluated_at: Environment steps at the last evaluation.
        since_better: Evaluations since the best one.
        best_return: Highest evaluation return, minus infinity before the first.
        best: The incumbent it belongs to.
        rows: The curve, in the order of `COLUMNS`.
    """

    search: Any
    env_steps: int = 0
    seconds: float = 0.0
    invalid: int = 0
    barren: int = 0
    evaluated_at: int = 0
    since_better: int = 0
    best_return: float = -math.inf
    best: SavedPolicy | None = None
    rows: list[list[float]] = field(default_factory=list)

    @property
    def is_barren(self) -> bool:
        """Whether the search has nothing left to follow."""
        return self.barren >= BARREN


def check_budget(search: Search, settings: SearchSettings) -> None:
    """Raise `UserError` unless the starts and one generation fit the budget."""
    if search.least_budget > settings.budget:
        raise UserError(
            f"--budget {settings.budget} is smaller than one generation, which with its starts may take "
            f"{search.least_budget} environment steps: raise --budget, or lower population, --starts or episodes"
        )


def search_until_done(
    search: Search,
    objective: Objective,
    settings: SearchSettings,
    folder: RunFolder,
    on_steps: Callable[[int], None] = lambda steps: None,
) -> Progress:
    """Run a search to the end of its budget, from where it was left if it was interrupted.

    It stops before the first generation that might exceed the budget, or after `BARREN` generations without an episode
    that stays finite. Evaluation episodes are the same ones every time and cost no budget.

    Args:
        search: The algorithm.
        objective: Plays the evaluation episodes.
        settings: Budget, evaluation and rhythm of saving.
        folder: Where to log and save.
        on_steps: Told the environment steps so far after each generation.

    Raises:
        UserError: The saved state is broken, or no episode at all stayed finite.
        KeyboardInterrupt: As it came; what was reached is saved before.
    """
    types = (*search.state_types, Layout, SavedPolicy)
    saved = folder.load(types) if search.resumable else None
    progress = Progress(**saved) if saved else Progress(search.begin())
    start, saved_at = time.perf_counter() - progress.seconds, time.perf_counter()
    on_steps(progress.env_steps)
    # Rows after the purge step belong to generations that the resumed run will take again.
    with SummaryWriter(str(folder.path), purge_step=progress.env_steps + 1) as writer:
        try:
            while _goes_on(progress, search, settings):
                state, generation = search.step(progress.search)
                following = _advance(progress, state, generation)
                last = following.env_steps + search.cost(state) > settings.budget or following.is_barren
                if last or _is_due(following, settings):
                    following = _evaluate(following, search, objective, settings, generation, start)
                    _log(writer, following.rows[-1])
                # Only now, so that an interruption at any point leaves a generation either whole or undone.
                progress = replace(following, seconds=time.perf_counter() - start)
                if search.resumable and time.perf_counter() - saved_at >= settings.checkpoint_seconds:
                    folder.save(vars(progress))
                    saved_at = time.perf_counter()
                on_steps(progress.env_steps)
                _check_finite(progress, objective, settings)
        except KeyboardInterrupt:
            with _undisturbed():
                _keep(folder, progress, search.resumable)
            raise
    _keep(folder, progress, search.resumable)
    return progress


def summarize(progress: Progress, objective: Objective, settings: SearchSettings) -> dict[str, Any]:
    """Measure the best incumbent on the test episodes, which chose nothing, and return flat keys."""
    task = settings.task
    ended = {"ended": f"no episode stayed finite in the last {BARREN} generations"} if progress.is_barren else {}
    assert progress.best is not None
    seeds = list(range(TEST_SEEDS, TEST_SEEDS + settings.test_episodes))
    each = objective.measure(progress.best, seeds).each[0]
    return {
        **mean_interval(each).keys(f"{task}/return"),
        f"{task}/eval_return": finite_or_none(progress.best_return),
        "env_steps": progress.env_steps,
        "seconds": round(progress.seconds, 2),
        "invalid": progress.invalid,
        **ended,
    }


def finite_or_none(value: float) -> float | None:
    """Return a number that JSON knows."""
    return value if math.isfinite(value) else None


def _check_finite(progress: Progress, objective: Objective, settings: SearchSettings) -> None:
    """Raise `UserError` if a search ends without one evaluation that is finite: it has found nothing at all."""
    if progress.is_barren and not math.isfinite(progress.best_return):
        raise UserError(
            f"no episode stayed finite in {BARREN} generations of {settings.algorithm} on {objective.problem.spec.id}, task "
            f"{settings.task!r} ({progress.invalid} policies so far): in each an observation, an action or a reward was NaN or "
            "infinite. Look for what makes the environment or the task overflow, or begin elsewhere (--start)"
        )


def _goes_on(progress: Progress, search: Search, settings: SearchSettings) -> bool:
    if progress.is_barren:
        return False
    if settings.patience is not None and progress.since_better >= settings.patience:
        return False
    return progress.env_steps + search.cost(progress.search) <= settings.budget


def _is_due(progress: Progress, settings: SearchSettings) -> bool:
    every = settings.evaluate_every
    return every is None or progress.env_steps // every > progress.evaluated_at // every


def _advance(progress: Progress, state: Any, generation: Generation) -> Progress:
    invalid = int((~np.isfinite(generation.returns)).sum())
    return replace(
        progress,
        search=state,
        env_steps=progress.env_steps + generation.steps,
        invalid=progress.invalid + invalid,
        barren=progress.barren + 1 if generation.is_lost else 0,
    )


def _evaluate(
    progress: Progress,
    search: Search,
    objective: Objective,
    settings: SearchSettings,
    generation: Generation,
    start: float,
) -> Progress:
    policy = search.incumbent(progress.search)
    seeds = list(range(EVALUATION_SEEDS, EVALUATION_SEEDS + settings.evaluation_episodes))
    value = float(objective.measure(policy, seeds).mean[0])
    returns = generation.returns[np.isfinite(generation.returns)]
    mean, best = (float(returns.mean()), float(returns.max())) if len(returns) else (math.nan, math.nan)
    seconds = time.perf_counter() - start
    row = [float(progress.env_steps), seconds, value, mean, best, generation.sigma, float(progress.invalid)]
    # A first incumbent is better than none, even one whose return is not finite.
    better = value > progress.best_return or progress.best is None
    return replace(
        progress,
        evaluated_at=progress.env_steps,
        rows=[*progress.rows, row],
        since_better=0 if better else progress.since_better + 1,
        best=policy if better else progress.best,
        best_return=value if better and math.isfinite(value) else progress.best_return,
    )


def _log(writer: SummaryWriter, row: list[float]) -> None:
    steps = int(row[0])
    for name, value in zip(COLUMNS[1:], row[1:], strict=True):
        if math.isfinite(value):
            writer.add_scalar(name, value, steps)


def _keep(folder: RunFolder, progress: Progress, resumable: bool) -> None:
    if resumable:
        folder.save(vars(progress))
    else:
        folder.write_curve(progress.rows)


class _undisturbed:
    """Ignore Ctrl-C while something must not be left half done; only the main thread can say so."""

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGINT, signal.SIG_IGN) if _is_main_thread() else None

    def __exit__(self, *_: object) -> None:
        if _is_main_thread():
            signal.signal(signal.SIGINT, self._before)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
