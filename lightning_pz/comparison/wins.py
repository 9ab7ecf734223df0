"""Who wins a task: the highest area under the curve, called a win only where the runs bear it out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lightning_pz.common.statistics import LEVEL, Estimate, percentiles, probability_above, spread
from lightning_pz.comparison.analysis import Entry, Task, aggregate_area, contenders_of
from lightning_pz.comparison.curves import least_p, permutation_p

WIN, TIE, FEW, ALONE = "win", "tie", "too few seeds", "alone"


@dataclass(frozen=True)
class Win:
    """How one task ends at one horizon."""

    task: Task  # the task
    horizon: int  # environment steps up to which areas are taken
    leader: Entry  # contender with the highest interquartile mean area
    runner_up: Entry | None  # the second; None if there is no other
    # how sure it is that the leader's exceeds the runner-up's, by Student's t; NaN if one of them has a single run
    probability: float
    paired: bool  # whether both have the same seeds, which are then compared seed by seed
    p_value: float  # two-sided, of a permutation test; NaN without a runner-up
    verdict: str  # `win`, `tie`, `too few seeds` (no outcome of so few runs could differ from chance) or `alone`


@dataclass(frozen=True)
class Standing:
    """One contender over all tasks at one horizon each."""

    contender: str  # its name
    area: Estimate  # interquartile mean area over all runs of all tasks
    tasks: int  # how many tasks there are
    leads: int  # on how many it has the highest area
    # lower end of the 95 % interval of that number; NaN if some contender on some task has a single run
    leads_low: float
    leads_high: float  # upper end
    wins: tuple[str, ...]  # tasks that it wins
    ties: tuple[str, ...]  # tasks where it is one of a tied pair, or of a pair with too few seeds
    behind: tuple[str, ...]  # the other tasks


@dataclass(frozen=True)
class Round:
    """A comparison of all tasks, each at one horizon."""

    name: str  # what the horizons are
    horizons: tuple[int, ...]  # environment steps, one per task
    wins: tuple[Win, ...]  # how each task ends
    standings: tuple[Standing, ...]  # contenders that took part on every task, best first
    missing: tuple[str, ...]  # contenders that did not, for want of runs or of budget


def rounds(tasks: Sequence[Task], draws: int, seed: int) -> list[Round]:
    """Compare at each task's largest budget, and, where budgets differ, also at the smallest, which all share.

    A contender with a smaller budget takes no part above it, for its curve is unknown there.
    """
    found = [_round("the whole budget", tasks, tuple(task.horizons[-1] for task in tasks), draws, seed)]
    if any(len(task.horizons) > 1 for task in tasks):
        shared = tuple(task.horizons[0] for task in tasks)
        found.append(_round("the smallest budget, which all were given", tasks, shared, draws, seed))
    return found


def decide(task: Task, horizon: int, seed: int) -> Win:
    """Return how a task ends.

    A win needs both a Student probability of at least 0.975 and a permutation test below 0.05: the first says how
    sure the lead is, the second keeps equal contenders with few seeds from winning by chance.
    """
    entries = sorted((e for e in task.entries if horizon in e.area), key=lambda e: -e.area[horizon].value)
    leader, second = entries[0], entries[1] if len(entries) > 1 else None
    if second is None:
        return Win(task, horizon, leader, None, math.nan, False, math.nan, ALONE)
    ours, theirs = leader.areas[horizon], second.areas[horizon]
    paired = leader.seeds == second.seeds
    probability = probability_above(ours, theirs, paired)
    p_value = permutation_p(ours, theirs, seed)
    decided = probability >= (1 + LEVEL) / 2 and p_value <= 1 - LEVEL
    verdict = WIN if decided else FEW if least_p(len(ours), len(theirs)) > 1 - LEVEL else TIE
    return Win(task, horizon, leader, second, probability, paired, p_value, verdict)


def _round(name: str, tasks: Sequence[Task], horizons: tuple[int, ...], draws: int, seed: int) -> Round:
    wins = tuple(decide(task, horizon, seed) for task, horizon in zip(tasks, horizons, strict=True))
    leads = _draw_leads(tasks, horizons, draws, seed)
    standings, missing = [], []
    taking = [[e for e in task.entries if end in e.area] for task, end in zip(tasks, horizons, strict=True)]
    for contender in contenders_of(tasks):
        present = [entry for entries in taking for entry in entries if entry.contender == contender]
        if len(present) < len(tasks):
            missing.append(contender)
            continue
        low, high = map(float, percentiles(leads[contender]))
        own = [win for win in wins if win.leader.contender == contender]
        won = tuple(win.task.label for win in own if win.verdict == WIN)
        alone = tuple(win.task.label for win in own if win.verdict == ALONE)
        pairs = {win.task.label: (win.leader, win.runner_up) for win in wins if win.verdict in (TIE, FEW)}
        tied = tuple(label for label, pair in pairs.items() if contender in [e.contender for e in pair if e])
        behind = tuple(task.label for task in tasks if task.label not in won + tied + alone)
        area = aggregate_area(present, horizons)
        standings.append(Standing(contender, area, len(tasks), len(own), low, high, won, tied, behind))
    standings.sort(key=lambda standing: (-len(standing.wins), -standing.leads, -standing.area.value))
    return Round(name, horizons, wins, tuple(standings), tuple(missing))


def _draw_leads(tasks: Sequence[Task], horizons: Sequence[int], draws: int, seed: int) -> dict[str, np.ndarray]:
    """Return on how many tasks each contender leads in each draw, (draws,); equal first places are shared.

    A draw moves each interquartile mean by its standard error times a number of Student's distribution.
    """
    counts = {name: np.zeros(draws) for name in contenders_of(tasks)}
    generator = np.random.default_rng(seed)
    for task, horizon in zip(tasks, horizons, strict=True):
        entries = [entry for entry in task.entries if horizon in entry.area]
        spreads = [spread([entry.areas[horizon]]) for entry in entries]
        means = np.stack([s.value + s.error * generator.standard_t(float(s.freedom), draws) for s in spreads])
        # The mean behind a single run is unknown, and then so is the leader.
        first = np.where(np.isnan(means).any(axis=0), np.nan, means == means.max(axis=0))
        for entry, share in zip(entries, first / first.sum(axis=0), strict=True):
            counts[entry.contender] = counts[entry.contender] + share
    return counts
