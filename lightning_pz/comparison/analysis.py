"""Turns runs into the numbers that figures and tables show."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lightning_pz.common.errors import UserError
from lightning_pz.common.statistics import LEVEL, Estimate, estimate, interquartile
from lightning_pz.comparison.curves import area, normalize, on_grid, permutation_p, steps_to_reach
from lightning_pz.comparison.pool_best import PoolBest
from lightning_pz.comparison.search_runs import SearchRun

SHARES = (0.5, 0.75, 0.9, 0.95)  # of the way from the floor to the best known return
POINTS = 201


@dataclass(frozen=True)
class Curve:
    """An interquartile mean along the grid with its band, each (points,); NaN until every run has a value."""

    value: np.ndarray  # the mean
    low: np.ndarray  # lower end of the band; NaN where there is none
    high: np.ndarray  # upper end
    kind: str  # what the band is, as for `Estimate`


@dataclass(frozen=True)
class Entry:
    """One contender on one task."""

    contender: str  # its name
    runs: tuple[SearchRun, ...]  # its runs, seeds ascending
    budget: int  # environment steps each was given
    # normalized returns of each run on the task's grid, (runs, points); NaN before the first evaluation
    scores: np.ndarray
    curve: Curve  # return against the task's grid
    final: Estimate  # return of the chosen policies on the test episodes
    # area under the curve of each run, (runs,), by horizon; horizons above the budget are missing
    areas: dict[int, np.ndarray]
    area: dict[int, Estimate]  # its interquartile mean, by horizon
    # environment steps of each run to each share, (runs,); infinity where it was not reached
    reach: dict[float, np.ndarray]
    invalid: int  # runs with an evaluation or a final return that is not finite

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the runs."""
        return tuple(run.seed for run in self.runs)

    @property
    def seconds(self) -> float:
        """Median wall time of a run, in seconds."""
        return float(np.median([run.seconds for run in self.runs]))


@dataclass(frozen=True)
class Task:
    """All contenders on one task."""

    env: str  # short name of the environment
    name: str  # name of the task
    grid: np.ndarray  # environment steps, (points,), from 0 to the largest budget
    floor: float  # return that counts as score 0
    floor_is_median: bool  # whether it is the pool's median; else the lowest first evaluation of any run
    best: float  # best known return, score 1: of any evaluation of any run, or of the pool
    best_of: str  # who has it
    pool: Estimate | None  # the best policy in the pool, if known
    horizons: tuple[int, ...]  # environment steps at which contenders are compared, the distinct budgets, ascending
    entries: tuple[Entry, ...]  # contenders, in the order of their names

    @property
    def label(self) -> str:
        """Environment and task in one word."""
        return f"{self.env}/{self.name}"


@dataclass(frozen=True)
class ReturnsAt:
    """All contenders on one task after so many environment steps."""

    task: Task  # the task
    steps: int  # environment steps
    returns: dict[str, np.ndarray]  # return of each run's incumbent then, by contender, (runs,)
    estimates: dict[str, Estimate]  # their interquartile means, by contender
    leader: str  # the contender with the highest
    # contenders not shown to differ from the leader (permutation test, p > 0.05), the leader among them
    alike: frozenset[str]


def contenders_of(tasks: Sequence[Task]) -> list[str]:
    """Return the names of all contenders, each once."""
    return list(dict.fromkeys(entry.contender for task in tasks for entry in task.entries))


def analyze(
    grouped: Mapping[tuple[str, str], Mapping[str, Sequence[SearchRun]]], pools: Mapping[str, PoolBest]
) -> list[Task]:
    """Return every task's numbers, from runs by (environment, task) and contender; `UserError` where no return is finite."""
    return [_analyze_task(env, name, members, pools.get(env)) for (env, name), members in grouped.items()]


def aggregate_area(entries: Sequence[Entry], horizons: Sequence[int]) -> Estimate:
    """Return one contender's interquartile mean area over the runs of all tasks, stratified over tasks."""
    return estimate(balanced([entry.areas[h] for entry, h in zip(entries, horizons, strict=True)]))


def balanced(strata: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Cut each task's runs, (runs, ...), to the smallest number of runs on a task, so that no task weighs more."""
    fewest = min(map(len, strata))
    return [stratum[:fewest] for stratum in strata]


def curve_of(strata: Sequence[np.ndarray]) -> Curve:
    """Return the interquartile mean curve over the runs of all tasks, (runs, points) each, with its band."""
    strata = balanced(strata)
    stacked = np.concatenate(strata)
    known = ~np.isnan(stacked).any(axis=0)
    value, low, high = np.full((3, stacked.shape[1]), np.nan)
    value[known], low[known], high[known], kind = interquartile([stratum[:, known] for stratum in strata])
    return Curve(value, low, high, kind)


def _analyze_task(env: str, name: str, contenders: Mapping[str, Sequence[SearchRun]], pool: PoolBest | None) -> Task:
    runs = [run for members in contenders.values() for run in members]
    finite = np.concatenate([run.returns[np.isfinite(run.returns)] for run in runs])
    if not len(finite):
        raise UserError(
            f"expected a finite return in some evaluation on {env} {name}, but {len(runs)} runs have none: "
            "leave these runs out"
        )
    worst = float(finite.min())
    firsts = np.concatenate([run.returns[:1] for run in runs])
    median, reference = (pool.median.get(name), pool.best.get(name)) if pool else (None, None)
    floor = float(np.nanmin(np.append(firsts, finite.max()))) if median is None else median
    # Curves count, not test episodes: all algorithms play the same evaluation episodes, so a return that one of them
    # reached there is one that the others could have reached.
    curved = [(label, run) for label, own in contenders.items() for run in own if np.isfinite(run.returns).any()]
    peaks = [(float(np.nanmax(run.returns)), f"{label}, seed {run.seed}") for label, run in curved]
    best, best_of = max(peaks + ([(reference.value, "the pool")] if reference else []), key=lambda pair: pair[0])
    # Without a best known return above the floor there is no way to go a share of.
    levels = {share: floor + share * (best - floor) if best > floor else np.inf for share in SHARES}
    horizons = tuple(sorted({run.budget for run in runs}))
    grid = np.linspace(0, horizons[-1], POINTS)

    def entry(contender: str, own: Sequence[SearchRun]) -> Entry:
        budget = own[0].budget
        # A policy that turned non-finite ranks last: it counts as the worst return on the task.
        curves = [(run.steps, np.nan_to_num(run.returns, nan=worst)) for run in own]
        finals = np.nan_to_num(np.array([run.final for run in own]), nan=worst)
        on = np.stack([on_grid(*curve, grid) for curve in curves])
        on[:, grid > budget] = np.nan
        scores = [(steps, normalize(values, floor, best)) for steps, values in curves]
        areas = {end: np.array([area(*score, end) for score in scores]) for end in horizons if end <= budget}
        reach = {s: np.array([steps_to_reach(*curve, up, budget) for curve in curves]) for s, up in levels.items()}
        invalid = sum(bool(np.isnan(run.returns).any() or np.isnan(run.final)) for run in own)
        return Entry(
            contender, tuple(own), budget, normalize(on, floor, best), curve_of([on]), estimate([finals]), areas,
            {end: estimate([values]) for end, values in areas.items()}, reach, invalid,
        )  # fmt: skip

    entries = tuple(entry(*pair) for pair in contenders.items())
    return Task(env, name, grid, floor, median is not None, best, best_of, reference, horizons, entries)


def returns_at(tasks: Sequence[Task], at: Sequence[int], seed: int) -> list[ReturnsAt]:
    """Return every task after each number of steps, with the contenders whose budget and finite returns reach it."""
    found = []
    for task, steps in itertools.product(tasks, at):
        present = [entry for entry in task.entries if entry.budget >= steps]
        returns = {
            entry.contender: np.array([on_grid(run.steps, run.returns, np.array([steps]))[0] for run in entry.runs])
            for entry in present
        }
        if returns := {name: values for name, values in returns.items() if np.isfinite(values).all()}:
            estimates = {name: estimate([values]) for name, values in returns.items()}
            leader = max(estimates, key=lambda name: estimates[name].value)
            alike = {name for name, own in returns.items() if permutation_p(returns[leader], own, seed) > 1 - LEVEL}
            found.append(ReturnsAt(task, steps, returns, estimates, leader, frozenset(alike | {leader})))
    return found
