"""The numbers of a comparison as rows: CSV with all of them, Markdown to read, a few columns for a terminal."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lightning_pz.common.files import safe_name
from lightning_pz.common.statistics import FEWEST, Estimate
from lightning_pz.comparison.analysis import SHARES, Task
from lightning_pz.comparison.evaluations import PoolBest
from lightning_pz.comparison.wins import ALONE, FEW, TIE, WIN, Round, Win

NOT_REACHED = "not reached"
_ENDS = f"[95 % interval] by Student's t, or below {FEWEST} seeds (lowest to highest), their range"
_SHORT = {WIN: "win", TIE: "tie", FEW: "open", ALONE: ""}
Rows = list[list[str]]


def cell_rows(tasks: Sequence[Task]) -> Rows:
    """Return a row per task and contender, a header first; areas are up to the contender's own budget."""
    header = ["task", "algorithm", "seeds", "budget", "return", "area", *(_share(s) for s in SHARES), "seconds"]
    rows = [header]
    for task in tasks:
        for cell in task.cells:
            rows.append([
                task.label, cell.contender, str(len(cell.runs)), f"{cell.budget:,}", text(cell.final),
                text(cell.area[cell.budget], 3), *(reach_text(cell.reach[share]) for share in SHARES),
                _seconds(cell.seconds),
            ])  # fmt: skip
    return rows


def win_rows(result: Round) -> Rows:
    """Return a row per task with its leader and runner-up, a header first."""
    rows = [["task", "steps", "leader", "area", "runner-up", "its area", "probability", "p", "verdict"]]
    for win in result.wins:
        second = win.runner_up
        rows.append([
            win.task.label, f"{win.horizon:,}", win.leader.contender, text(win.leader.area[win.horizon], 3),
            second.contender if second else "", text(second.area[win.horizon], 3) if second else "",
            f"{win.probability:.3f} {'paired' if win.paired else 'unpaired'}" if win.probability >= 0 else "",
            f"{win.p_value:.3f}" if win.probability >= 0 else "", win.verdict,
        ])  # fmt: skip
    return rows


def standing_rows(result: Round) -> Rows:
    """Return a row per contender that took part on every task, a header first."""
    rows = [["algorithm", "area", "highest area on", "wins", "ties", "behind on"]]
    for s in result.standings:
        ends = f" [{s.leads_low:.0f}, {s.leads_high:.0f}]" if math.isfinite(s.leads_low) else ""
        leads = f"{s.leads}{ends} of {s.tasks}"
        ties = f"{len(s.ties)}: {', '.join(s.ties)}" if s.ties else "0"
        behind = f"{len(s.behind)}: {', '.join(s.behind)}" if s.behind else "0"
        rows.append([s.contender, text(s.area, 3), leads, str(len(s.wins)), ties, behind])
    return rows


def console_rows(tasks: Sequence[Task], wins: Sequence[Win]) -> Rows:
    """Return few columns, narrow enough for 110 characters, the best area of a task first, a header first."""
    several = len({task.env for task in tasks}) > 1
    rows = [["task", "algorithm", "return", "area [95 %] (range)", _share(0.9), "seconds", "result"]]
    for task, win in zip(tasks, wins, strict=True):
        ranked = sorted(task.cells, key=lambda cell: (-cell.budget, -cell.area[cell.budget].value))
        for place, cell in enumerate(ranked):
            result = _SHORT[win.verdict] if cell is win.leader else ""
            if cell is win.runner_up and win.verdict in (TIE, FEW):
                result = _SHORT[win.verdict]
            if cell.budget < task.horizons[-1]:
                result = f"to {compact(cell.budget)}"
            name = (task.label if several else task.name) if place == 0 else ""
            rows.append([
                _cut(name, 24), _cut(cell.contender, 20), _number(cell.final.value),
                text(cell.area[cell.budget], 3), reach_text(cell.reach[0.9], short=True), _seconds(cell.seconds), result,
            ])  # fmt: skip
    return rows


def markdown_table(rows: Rows) -> str:
    """Return rows as a Markdown table, the first one its header."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]) + "\n"


def markdown(
    tasks: Sequence[Task],
    results: Sequence[Round],
    pools: Mapping[str, PoolBest],
    left_out: Sequence[tuple[Path, str]],
    at: Rows,
) -> str:
    """Return the whole report, with what each number is."""
    runs = sum(len(cell.runs) for task in tasks for cell in task.cells)
    parts = [f"# Comparison of {runs} runs on {len(tasks)} task{'s' * (len(tasks) != 1)}\n"]
    parts.append(
        "The area under a run's curve is the mean normalized return of its incumbent over the budget, at equal "
        "environment steps. `win`: the leader's interquartile mean exceeds the runner-up's with a "
        "probability of at least 0.975 by Student's t, and a permutation test gives p <= 0.05; else it is a `tie`. "
        "`too few seeds`: not even complete separation of so few runs could give p <= 0.05.\n"
    )
    for result in results:
        parts.append(f"## Wins at {result.name}\n")
        parts.append(markdown_table(win_rows(result)))
        if result.standings:
            parts += [
                "Over all tasks, with equally many seeds of each (ties count the pair of leader and runner-up):\n"
            ]
            parts.append(markdown_table(standing_rows(result)))
        if result.missing:
            parts.append(f"Without runs, or without this budget, on some task: {', '.join(result.missing)}.\n")
    if len(at) > 1:
        parts.append("## Returns on the way\n")
        parts.append(
            f"Return of the incumbent after so many environment steps, on the evaluation episodes, interquartile mean over "
            f"seeds {_ENDS}. Bold: the highest of a row; `~`: the runs do not tell it from that "
            "one (permutation test, p > 0.05).\n"
        )
        parts.append(markdown_table(at))
    parts.append("## Learning curves\n")
    parts += [f"![{name}](figures/{name}.png)\n" for name in ["overview", *map(figure_name, tasks)]]
    parts.append("## Every algorithm\n")
    parts.append(
        f"Interquartile means over seeds {_ENDS}. `return`: of the chosen policy on "
        "test episodes that chose nothing. `area`: up to the algorithm's own budget. The shares: median environment "
        "steps to reach that part of the way from floor to best known return, and how many seeds did; "
        f"`{NOT_REACHED}` where half of them or more did not. `seconds`: median wall time of a run.\n"
    )
    parts.append(markdown_table(cell_rows(tasks)))
    invalid = [(task, cell) for task in tasks for cell in task.cells if cell.invalid]
    if invalid:
        named = ", ".join(f"{cell.contender} on {task.label} ({cell.invalid})" for task, cell in invalid)
        parts.append(f"Runs with a return that is not finite, which ranks last: {named}.\n")
    parts += ["## What the returns are measured against\n", markdown_table(reference_rows(tasks))]
    for env, pool in pools.items():
        parts.append(f"Best in the pool, {env}: {pool.policies:,} policies, `{pool.path}`.\n")
        if pool.growth_steps is not None:
            served = len([task for task in tasks if task.env == env])
            parts.append(
                f"Growing a pool of {env} took {pool.growth_steps:,} environment steps without reward, in no budget above: "
                f"{pool.growth_steps / served:,.0f} for each of the {served} tasks that it serves here.\n"
            )
    if left_out:
        parts.append("## Left out\n")
        parts.append("\n".join(f"* `{path}`: {reason}" for path, reason in left_out) + "\n")
    return "\n".join(parts)


def figure_name(task: Task) -> str:
    """Return the name of a task's figure, which no other task shares."""
    return f"{safe_name(task.env)}-{safe_name(task.name)}"


def reference_rows(tasks: Sequence[Task]) -> Rows:
    """Return each task's floor, best known return and best policy in the pool, a header first."""
    rows = [["task", "floor (score 0)", "which is", "best known (score 1)", "of", "best in the pool [95 %] (range)"]]
    for task in tasks:
        kind = "the pool's median" if task.floor_is_median else "the lowest first evaluation"
        pool = text(task.pool) if task.pool else "unknown"
        rows.append([task.label, _number(task.floor), kind, _number(task.best), task.best_of, pool])
    return rows


def cells_csv(tasks: Sequence[Task]) -> str:
    """Return every number of every contender, a row per horizon it took part in; empty where it does not exist."""
    estimates = ["return", "area"]
    header = ["env", "task", "algorithm", "seeds", "budget", "horizon"]
    header += [f"{name}{end}" for name in estimates for end in ("", "_low", "_high", "_interval")]
    header += [f"{kind}_{share:.0%}".rstrip("%") for share in SHARES for kind in ("steps_to", "reached")]
    rows: list[list[object]] = [[*header, "seconds", "invalid_runs"]]
    for task in tasks:
        for cell in task.cells:
            for horizon, area in cell.area.items():
                row: list[object] = [task.env, task.name, cell.contender, len(cell.runs), cell.budget, horizon]
                row += [_finite(n) for e in (cell.final, area) for n in e]
                for share in SHARES:
                    steps = np.where(cell.reach[share] <= horizon, cell.reach[share], np.inf)
                    row += [_finite(float(np.median(steps))), int(np.isfinite(steps).sum())]
                rows.append([*row, cell.seconds, cell.invalid])
    return _csv(rows)


def runs_csv(tasks: Sequence[Task]) -> str:
    """Return a row per run; a share that was not reached is empty."""
    header: list[object] = ["env", "task", "algorithm", "seed", "budget", "env_steps", "return", "area"]
    rows = [[*header, *(f"steps_to_{share:.0%}".rstrip("%") for share in SHARES), "seconds", "folder"]]
    for task in tasks:
        for cell in task.cells:
            for i, run in enumerate(cell.runs):
                reach = [_finite(float(cell.reach[share][i])) for share in SHARES]
                row = [task.env, task.name, cell.contender, run.seed, run.budget, run.env_steps, _finite(run.final)]
                rows.append([*row, float(cell.areas[cell.budget][i]), *reach, run.seconds, run.folder])
    return _csv(rows)


def wins_csv(results: Sequence[Round]) -> str:
    """Return how each task ends, a row per horizon."""
    rows: list[list[object]] = [
        ["env", "task", "horizon", "leader", "area", "area_low", "area_high", "area_interval", "runner_up", "runner_up_area",
         "runner_up_area_low", "runner_up_area_high", "runner_up_area_interval", "probability", "paired", "p_value", "verdict"]
    ]  # fmt: skip
    for win in (win for result in results for win in result.wins):
        ours, second = win.leader.area[win.horizon], win.runner_up
        theirs: list[object] = [""] * 5
        if second is not None:
            other = second.area[win.horizon]
            theirs = [second.contender, *(_finite(n) for n in other)]
        row: list[object] = [win.task.env, win.task.name, win.horizon, win.leader.contender]
        row += [*(_finite(n) for n in ours), *theirs]
        rows.append([*row, _finite(win.probability), int(win.paired), _finite(win.p_value), win.verdict])
    return _csv(rows)


def text(value: Estimate, digits: int | None = None) -> str:
    """Return a number with its interval or range, if it has one, all with the digits of the largest if not told."""
    numbers = [number for number in value[:3] if math.isfinite(number)]
    digits = _digits(max(map(abs, numbers))) if digits is None else digits
    return f"{value.value:z.{digits}f}{value.ends(f'z.{digits}f')}"


def reach_text(steps: np.ndarray, short: bool = False) -> str:
    """Return the median over runs and how many reached it; a censored run is never averaged.

    Args:
        steps: Environment steps of each run, infinity where it was not reached.
        short: Round to three digits, for a terminal.
    """
    middle = float(np.median(steps))
    count = f"{int(np.isfinite(steps).sum())}/{len(steps)}"
    if not math.isfinite(middle):
        return f"{'-' if short else NOT_REACHED} {count}"
    return f"{compact(middle) if short else f'{middle:,.0f}'} {count}"


def compact(steps: int | float) -> str:
    """Return environment steps in at most five characters."""
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if steps >= unit * 0.9995:
            return f"{steps / unit:.3g}{name}"
    return f"{steps:.0f}"


def _share(share: float) -> str:
    return f"steps to {share:.0%}"


def _number(value: float) -> str:
    return _fixed(value, _digits(abs(value)))


def _fixed(value: float, digits: int) -> str:
    return f"{value:z.{digits}f}"  # no -0.00


def _digits(size: float) -> int:
    return 2 if size < 100 else 1 if size < 1000 else 0


def _seconds(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _cut(word: str, width: int) -> str:
    # Both ends stay: names of checkpoints differ at the end.
    return word if len(word) <= width else f"{word[: (width - 1) // 2]}…{word[-(width // 2) :]}"


def _finite(value: float | str) -> float | str:
    return value if isinstance(value, str) or math.isfinite(value) else ""


def _csv(rows: Sequence[Sequence[object]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()
