"""The tables of a comparison: CSV with every number, the Markdown page, and the few columns shown at the console."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lightning_pz.common.files import safe_name
from lightning_pz.common.statistics import FEWEST, UNKNOWN
from lightning_pz.common.tables import Table, estimate_text, number_form
from lightning_pz.comparison.analysis import SHARES, ReturnsAt, Task
from lightning_pz.comparison.labels import short_steps
from lightning_pz.comparison.pool_best import PoolBest
from lightning_pz.comparison.same_problem import evaluations_note, versions_note
from lightning_pz.comparison.search_runs import SearchRun
from lightning_pz.comparison.wins import ALONE, FEW, TIE, WIN, Round, Win

_ENDS = f"[95 % interval] by Student's t, or below {FEWEST} seeds (lowest to highest), their range"
_SHORT = {WIN: "win", TIE: "tie", FEW: "open", ALONE: ""}
_PERCENTS = [f"{round(100 * share)}" for share in SHARES]


def contenders_table(tasks: Sequence[Task]) -> Table:
    """Return a row per task and contender; areas are up to the contender's own budget."""
    rows = [
        [task.label, e.contender, len(e.runs), e.budget, e.final, e.area[e.budget],
         *map(reach_text, e.reach.values()), _seconds(e.seconds)]
        for task in tasks for e in task.entries
    ]  # fmt: skip
    shares = [f"steps to {percent}%" for percent in _PERCENTS]
    header = ["task", "algorithm", "seeds", "budget", "return", "area", *shares, "seconds"]
    return Table(header, rows, {"budget": ",", "area": "z.3f"})


def wins_table(result: Round) -> Table:
    """Return a row per task with its leader and runner-up."""
    rows = []
    for win in result.wins:
        second, known = win.runner_up, win.probability >= 0
        rows.append([
            win.task.label, win.horizon, win.leader.contender, win.leader.area[win.horizon],
            second and second.contender, second and second.area[win.horizon],
            f"{win.probability:.3f} {'paired' if win.paired else 'unpaired'}" if known else None,
            win.p_value if known else None, win.verdict,
        ])  # fmt: skip
    header = ["task", "steps", "leader", "area", "runner-up", "its area", "probability", "p", "verdict"]
    return Table(header, rows, {"steps": ",", "area": "z.3f", "its area": "z.3f", "p": ".3f"})


def standings_table(result: Round) -> Table:
    """Return a row per contender that took part on every task."""
    rows = []
    for s in result.standings:
        ends = f" [{s.leads_low:.0f}, {s.leads_high:.0f}]" if math.isfinite(s.leads_low) else ""
        ties, behind = (f"{len(names)}: {', '.join(names)}" if names else "0" for names in (s.ties, s.behind))
        rows.append([s.contender, s.area, f"{s.leads}{ends} of {s.tasks}", len(s.wins), ties, behind])
    return Table(["algorithm", "area", "highest area on", "wins", "ties", "behind on"], rows, {"area": "z.3f"})


def console_table(tasks: Sequence[Task], wins: Sequence[Win]) -> Table:
    """Return few columns, the best area of a task first."""
    several = len({task.env for task in tasks}) > 1
    rows = []
    for task, win in zip(tasks, wins, strict=True):
        ranked = sorted(task.entries, key=lambda entry: (-entry.budget, -entry.area[entry.budget].value))
        for place, entry in enumerate(ranked):
            tied = entry is win.runner_up and win.verdict in (TIE, FEW)
            result = _SHORT[win.verdict] if entry is win.leader or tied else ""
            if entry.budget < task.horizons[-1]:
                result = f"to {short_steps(entry.budget)}"
            rows.append([
                ("" if place else task.label if several else task.name), entry.contender,
                UNKNOWN._replace(value=entry.final.value), entry.area[entry.budget],
                reach_text(entry.reach[0.9], short=True), _seconds(entry.seconds), result,
            ])  # fmt: skip
    header = ["task", "algorithm", "return", "area [95 %] (range)", "steps to 90%", "seconds", "result"]
    return Table(header, rows, {header[3]: "z.3f"})


def references_table(tasks: Sequence[Task]) -> Table:
    """Return each task's floor, best known return and best policy in the pool."""
    rows = []
    for task in tasks:
        kind = "the pool's median" if task.floor_is_median else "the lowest first evaluation"
        floor, best = (f"{number:{number_form(number)}}" for number in (task.floor, task.best))
        rows.append([task.label, floor, kind, best, task.best_of, task.pool or "unknown"])
    header = ["task", "floor (score 0)", "which is", "best known (score 1)", "of", "best in the pool [95 %] (range)"]
    return Table(header, rows)


def returns_at_table(found: Sequence[ReturnsAt]) -> Table:
    """Return a row per task and steps, a column per contender: the highest bold, `~` at those not shown to differ."""
    names = list(dict.fromkeys(name for one in found for name in one.returns))

    def cell(one: ReturnsAt, name: str) -> str:
        number = estimate_text(one.estimates[name]) if name in one.estimates else ""
        return f"**{number}**" if name == one.leader else number + " ~" * (name in one.alike)

    rows = [[one.task.label, short_steps(one.steps), *(cell(one, name) for name in names)] for one in found]
    return Table(["task", "steps", *names], rows)


def contenders_csv(tasks: Sequence[Task]) -> str:
    """Return every number of every contender, a row per horizon it took part in; empty where it does not exist."""
    header = ["env", "task", "algorithm", "seeds", "budget", "horizon", "return", "area"]
    header += [f"{kind}_{percent}" for percent in _PERCENTS for kind in ("steps_to", "reached")]
    rows = []
    for task, e in ((each, entry) for each in tasks for entry in each.entries):
        for horizon, area in e.area.items():
            reach = [np.where(steps <= horizon, steps, np.inf) for steps in e.reach.values()]
            counted = [x for steps in reach for x in (float(np.median(steps)), int(np.isfinite(steps).sum()))]
            row = [task.env, task.name, e.runs[0].algorithm, len(e.runs), e.budget, horizon, e.final, area]
            rows.append([*row, *counted, e.seconds, e.invalid, e.contender])
    return Table([*header, "seconds", "invalid_runs", "label"], rows).csv()


def runs_csv(tasks: Sequence[Task]) -> str:
    """Return a row per run; a share that was not reached is empty."""
    header = ["env", "task", "algorithm", "seed", "budget", "env_steps", "evaluations", "return", "area"]
    header += [f"steps_to_{percent}" for percent in _PERCENTS]
    rows = []
    for task, e in ((each, entry) for each in tasks for entry in each.entries):
        for run, area, *reach in zip(e.runs, e.areas[e.budget], *e.reach.values(), strict=True):
            row = [task.env, task.name, run.algorithm, run.seed, run.budget, run.env_steps, len(run.steps), run.final]
            rows.append([*row, area, *reach, run.seconds, run.folder, e.contender])
    return Table([*header, "seconds", "folder", "label"], rows).csv()


def wins_csv(results: Sequence[Round]) -> str:
    """Return how each task ends, a row per horizon."""
    header = ["env", "task", "horizon", "leader", "area", "runner_up", "runner_up_area", "probability", "paired"]
    rows = []
    for win in (win for result in results for win in result.wins):
        second, area = win.runner_up, win.leader.area[win.horizon]
        theirs = [second.contender, second.area[win.horizon]] if second else [None, UNKNOWN]
        row = [win.task.env, win.task.name, win.horizon, win.leader.contender, area, *theirs]
        rows.append([*row, win.probability, int(win.paired), win.p_value, win.verdict])
    return Table([*header, "p_value", "verdict"], rows).csv()


def report_page(
    tasks: Sequence[Task], results: Sequence[Round], pools: Mapping[str, PoolBest],
    left_out: Sequence[tuple[Path, str]], at: Table,
) -> str:  # fmt: skip
    """Return the whole report, with what each number is."""
    runs = sum(len(entry.runs) for task in tasks for entry in task.entries)
    parts = [
        f"# Comparison of {runs} runs on {len(tasks)} task{'s' * (len(tasks) != 1)}\n",
        "The area under a run's curve is the mean normalized return of its incumbent over the budget, at equal "
        "environment steps. `win`: the leader's interquartile mean exceeds the runner-up's with a "
        "probability of at least 0.975 by Student's t, and a permutation test gives p <= 0.05; else it is a `tie`. "
        "`too few seeds`: not even complete separation of so few runs could give p <= 0.05.\n",
    ]
    for result in results:
        parts += [f"## Wins at {result.name}\n", wins_table(result).markdown()]
        if result.standings:
            parts += [
                "Over all tasks, with equally many seeds of each (ties count the pair of leader and runner-up):\n",
                standings_table(result).markdown(),
            ]
        if result.missing:
            parts.append(f"Without runs, or without this budget, on some task: {', '.join(result.missing)}.\n")
    if at.rows:
        parts += [
            "## Returns on the way\n",
            "Return of the incumbent after so many environment steps, on the evaluation episodes, interquartile mean over "
            f"seeds {_ENDS}. Bold: the highest of a row; `~`: the runs show no difference from "
            "it (permutation test, p > 0.05).\n",
            at.markdown(),
        ]
    parts.append("## Learning curves\n")
    parts += [f"![{name}](figures/{name}.png)\n" for name in ["overview", *map(figure_name, tasks)]]
    parts += [
        "## Every algorithm\n",
        f"Interquartile means over seeds {_ENDS}. `return`: of the chosen policy on "
        "test episodes that chose nothing. `area`: up to the algorithm's own budget. The shares: median environment "
        "steps to reach that part of the way from floor to best known return, and how many seeds did; "
        "`not reached` where half of them or more did not. `seconds`: median wall time of a run.\n",
        contenders_table(tasks).markdown(),
    ]
    lone = [name for task in tasks for name in names_of_one_fit({e.contender: e.runs for e in task.entries})]
    if lone:
        parts.append(
            f"All searches of a task go through one decoder and pool: {', '.join(dict.fromkeys(lone))}. Their intervals and wins hold for that "
            "one, and say nothing about another fit. Give every seed a fit trained with it to have both.\n"
        )
    invalid = [f"{e.contender} on {task.label} ({e.invalid})" for task in tasks for e in task.entries if e.invalid]
    if invalid:
        parts.append(f"Runs with a return that is not finite, which ranks last: {', '.join(invalid)}.\n")
    notes = (
        evaluations_note({entry.contender: entry.runs for entry in task.entries} for task in tasks),
        versions_note([run for entry in task.entries for run in entry.runs] for task in tasks),
    )
    parts += [f"{note}\n" for note in notes if note]
    parts += ["## What the returns are measured against\n", references_table(tasks).markdown()]
    for env, pool in pools.items():
        parts.append(f"Best in the pool, {env}: {pool.policies:,} policies, `{pool.path}`.\n")
        if pool.growth_steps is not None:
            served = len([task for task in tasks if task.env == env])
            parts.append(
                f"Growing a pool of {env} took {pool.growth_steps:,} environment steps without reward, in no budget above: "
                f"{pool.growth_steps / served:,.0f} for each of the {served} tasks that it serves here.\n"
            )
    if left_out:
        parts += ["## Left out\n", "\n".join(f"* `{path}`: {reason}" for path, reason in left_out) + "\n"]
    return "\n".join(parts)


def names_of_one_fit(runs: Mapping[str, Sequence[SearchRun]]) -> list[str]:
    """Return the contenders of a task, of those with their runs, whose several searches share the fit that decides them."""
    return [
        name
        for name, own in runs.items()
        if len(own) > 1 and len({run.fit_digest for run in own}) == 1 and all(run.needs_fit for run in own)
    ]


def figure_name(task: Task) -> str:
    """Return the name of a task's figure, which no other task shares."""
    return f"{safe_name(task.env)}-{safe_name(task.name)}"


def reach_text(steps: np.ndarray, short: bool = False) -> str:
    """Return the median over runs, (runs,), and how many are finite; a censored run is never averaged."""
    middle = float(np.median(steps))
    known = short_steps(middle) if short else f"{middle:,.0f}"
    text = known if math.isfinite(middle) else "-" if short else "not reached"
    return f"{text} {int(np.isfinite(steps).sum())}/{len(steps)}"


def _seconds(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"
