"""The loop of every algorithm: take a generation, evaluate the incumbent, log, save; resume after an interruption."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lightning_pz.common.errors import UserError
from lightning_pz.common.files import write_text
from lightning_pz.common.processes import ignore_interrupts
from lightning_pz.common.run_folder import RunFolder
from lightning_pz.common.statistics import mean_interval
from lightning_pz.common.tracking.tracker import Tracker
from lightning_pz.envs.episode_seeds import EVALUATION_SEEDS, TEST_SEEDS
from lightning_pz.policy import Head, Layout
from lightning_pz.policy.saved import SavedPolicy
from lightning_pz.search.answers import Answer, due_answers, write_answers
from lightning_pz.search.generation import Generation, Search
from lightning_pz.search.objective import Objective
from lightning_pz.search.settings import AnswersBy, SearchSettings

BARREN = 10
"""Generations in a row without an episode that stays finite, after which a search ends, since it has nothing to follow."""
COLUMNS = ("env_steps", "seconds", "eval_return", "population_mean", "population_best", "sigma", "invalid")
"""Columns of curve.csv; TensorBoard has the same, with environment steps on the x axis."""


@dataclass(frozen=True)
class Progress:
    """State of a run; plain data except the search's own state."""

    search: Any  # The search's state
    env_steps: int = 0  # Environment steps of the search so far
    episodes: int = 0  # Episodes of the search so far
    updates: int = 0  # On old data so far, which take no step
    seconds: float = 0.0  # Wall time, evaluation included, over all sittings
    cpu_seconds: float = 0.0  # Of all threads, for the beginning and the generations; not for evaluations
    invalid: int = 0  # Policies that turned non-finite so far
    barren: int = 0  # Generations in a row, up to this one, without an episode that stayed finite
    evaluated_at: int = 0  # Environment steps at the last evaluation
    evaluated: str = ""  # Digest of the policy that was evaluated last
    since_better: int = 0  # Evaluations since the best one
    best_return: float = -math.inf  # Highest evaluation return, minus infinity before the first
    best: SavedPolicy | None = None  # The incumbent it belongs to
    rows: list[list[float]] = field(default_factory=list)  # The curve, in the order of `COLUMNS`
    answers: list[Answer] = field(default_factory=list)  # At the counts of `answers_at` so far

    def counted(self, by: AnswersBy) -> int:
        """Return the episodes or environment steps so far."""
        return self.episodes if by == "episodes" else self.env_steps

    @property
    def work(self) -> int:
        """Steps and updates on old data so far, of those of `SearchSettings.work`."""
        return self.env_steps + self.updates

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
    on_work: Callable[[int], None] = lambda work: None,
) -> Progress:
    """Run a search to the end of its budget, from its saved state if there is one.

    It stops before the first generation that might exceed the budget, or after `BARREN` generations without an episode
    that stays finite. Evaluation episodes are the same ones every time and cost no budget. Raises `UserError`: the
    saved state is broken, or no episode at all stayed finite. `KeyboardInterrupt`: after the state is saved; a search that
    is not pure is saved only if none of its generations was under way, else the last state that was saved counts.
    `on_work` is called with `Progress.work` after each generation, and may raise it.
    """
    types = (*search.state_types, Answer, Head, Layout, SavedPolicy)
    # Version 0.1 defined the optimizers' states in search/clipup.py, cmaes.py, ..., under whose names torch wrote them.
    names = {t: f"{t.__module__}.{t.__name__}".replace("clipup_adam", "clipup") for t in types}
    former = [(t, name.replace(".optimizers.", ".")) for t, name in names.items() if ".optimizers." in name]
    state = folder.load_state([*types, *former])
    begun = time.process_time()
    progress = Progress(**state | {"search": search.unpack(state["search"])}) if state else Progress(search.begin())
    if not state:
        progress = replace(progress, cpu_seconds=time.process_time() - begun)
    start, saved_at = time.perf_counter() - progress.seconds, time.perf_counter()
    every, by = settings.evaluate_every or 1, settings.answers_by
    seeds = list(range(EVALUATION_SEEDS, EVALUATION_SEEDS + settings.evaluation_episodes))
    is_whole = True  # Whether `progress` can be saved: a search that is not pure changes during a generation
    on_work(progress.work)
    # Rows after the purge step belong to generations that the resumed run will take again.
    with folder.tracker(purge_step=progress.env_steps + 1) as tracker:
        try:
            while _has_next(progress, search, settings):
                # A pure search can be asked afterwards, which spares it most of the times.
                may_ask = max(settings.answers_at, default=-1) >= progress.counted(by) and not search.is_pure
                before = search.incumbent(progress.search) if may_ask else None
                begun, is_whole = time.process_time(), search.is_pure
                inner, generation = search.step(progress.search)
                taken = generation.episodes if by == "episodes" else generation.steps
                due = due_answers(_open(progress, settings), progress.counted(by), progress.counted(by) + taken)
                if due and before is None:
                    before = search.incumbent(progress.search)
                following = replace(
                    progress,
                    search=inner,
                    cpu_seconds=progress.cpu_seconds + time.process_time() - begun,
                    env_steps=progress.env_steps + generation.steps,
                    episodes=progress.episodes + generation.episodes,
                    updates=progress.updates + generation.updates,
                    answers=progress.answers + [Answer(count, progress.env_steps, before) for count in due if before],
                    invalid=progress.invalid + int((~np.isfinite(generation.returns)).sum()),
                    barren=progress.barren + 1 if generation.is_lost else 0,
                )
                is_last = not _affords(following, search, settings)
                if is_last or following.env_steps // every > following.evaluated_at // every:
                    policy = search.incumbent(inner)
                    # The episodes are the same ones every time, and so is the value of an answer that stayed.
                    is_same = policy.digest() == progress.evaluated
                    value = progress.rows[-1][2] if is_same else float(objective.measure(policy, seeds).mean[0])
                    following = _evaluated(following, policy, value, generation, time.perf_counter() - start)
                    _log(tracker, following.rows[-1])
                # Only now, so that an interruption at any point leaves a generation either whole or undone.
                progress, is_whole = replace(following, seconds=time.perf_counter() - start), True
                # Before it is saved, so that the same run is refused again.
                _check_finite(progress, objective, settings)
                if time.perf_counter() - saved_at >= settings.checkpoint_seconds:
                    _save(folder, progress, search)
                    saved_at = time.perf_counter()
                on_work(progress.work)
        except KeyboardInterrupt:
            if is_whole:
                with ignore_interrupts():
                    _save(folder, progress, search)
            raise
    # Here too, since a state of earlier versions may lie beyond.
    _check_finite(progress, objective, settings)
    _save(folder, progress, search)
    if settings.answers_at:
        policy, last = search.incumbent(progress.search), progress.counted(by)
        ends = [Answer(count, progress.env_steps, policy) for count in _open(progress, settings) if count == last]
        ends.append(Answer(last, progress.env_steps, policy))
        write_answers(folder, [*progress.answers, *ends], objective, settings.answer_episodes, by)
    return progress


def summarize(progress: Progress, objective: Objective, settings: SearchSettings) -> dict[str, Any]:
    """Measure the best incumbent on the test episodes, which chose nothing, and return flat keys."""
    task = settings.task
    ended = {"ended": f"no episode stayed finite in the last {BARREN} generations"} if progress.is_barren else {}
    assert progress.best is not None
    each = objective.measure(progress.best, list(range(TEST_SEEDS, TEST_SEEDS + settings.test_episodes))).each[0]
    return {
        **mean_interval(each).keys(f"{task}/return"),
        f"{task}/eval_return": progress.best_return if math.isfinite(progress.best_return) else None,
        "env_steps": progress.env_steps,
        "episodes": progress.episodes,
        "seconds": round(progress.seconds, 2),
        "cpu_seconds": round(progress.cpu_seconds, 2),
        "invalid": progress.invalid,
        **ended,
    }


def write_curve(folder: RunFolder, rows: list[list[float]]) -> None:
    """Write curve.csv, one row per evaluation."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    writer.writerows([[int(row[0]), round(row[1], 3), *row[2:6], int(row[6])] for row in rows])
    write_text(folder.path / "curve.csv", file.getvalue())


def _check_finite(progress: Progress, objective: Objective, settings: SearchSettings) -> None:
    """Raise `UserError` if a search ends without a finite evaluation."""
    if progress.is_barren and not math.isfinite(progress.best_return):
        raise UserError(
            f"no episode stayed finite in {BARREN} generations of {settings.algorithm} on {objective.problem.spec.id}, task "
            f"{settings.task!r} ({progress.invalid} policies so far): in each an observation, an action or a reward was NaN or "
            "infinite. Find what makes the environment or the task overflow, or begin elsewhere (--start)"
        )


def _open(progress: Progress, settings: SearchSettings) -> list[int]:
    """Return the counts that have no answer yet."""
    answered = {answer.at for answer in progress.answers}
    return [count for count in settings.answers_at if count not in answered]


def _has_next(progress: Progress, search: Search, settings: SearchSettings) -> bool:
    is_patient = settings.patience is None or progress.since_better < settings.patience
    return is_patient and _affords(progress, search, settings)


def _affords(progress: Progress, search: Search, settings: SearchSettings) -> bool:
    """Return whether steps and episodes suffice for a generation."""
    is_ended = settings.episodes is not None and progress.episodes >= settings.episodes
    in_budget = progress.env_steps + search.cost(progress.search) <= settings.budget
    return in_budget and not is_ended and not progress.is_barren


def _evaluated(
    progress: Progress, policy: SavedPolicy, value: float, generation: Generation, seconds: float
) -> Progress:
    returns = generation.returns[np.isfinite(generation.returns)]
    mean, best = (float(returns.mean()), float(returns.max())) if len(returns) else (math.nan, math.nan)
    row = [float(progress.env_steps), seconds, value, mean, best, generation.sigma, float(progress.invalid)]
    # A first incumbent is better than none, even one whose return is not finite.
    better = value > progress.best_return or progress.best is None
    return replace(
        progress,
        evaluated_at=progress.env_steps,
        evaluated=policy.digest(),
        rows=[*progress.rows, row],
        since_better=0 if better else progress.since_better + 1,
        best=policy if better else progress.best,
        best_return=value if better and math.isfinite(value) else progress.best_return,
    )


def _log(tracker: Tracker, row: list[float]) -> None:
    tracker.log(dict(zip(COLUMNS[1:], row[1:], strict=True)), int(row[0]))


def _save(folder: RunFolder, progress: Progress, search: Search) -> None:
    """Write the state and the curve."""
    folder.save_state(vars(progress) | {"search": search.pack(progress.search)})
    write_curve(folder, progress.rows)
