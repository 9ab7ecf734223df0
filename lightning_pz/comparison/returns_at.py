"""Returns after given numbers of environment steps: what a smaller budget would have bought."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from lightning_pz.common.statistics import LEVEL, Estimate, estimate
from lightning_pz.comparison.analysis import Cell, Task
from lightning_pz.comparison.curves import on_grid, permutation_p
from lightning_pz.comparison.tables import Rows, compact, text


@dataclass(frozen=True)
class Moment:
    """All contenders on one task after so many environment steps.

    Attributes:
        task: The task.
        steps: Environment steps.
        returns: Return of each run's incumbent then, by contender, (runs,).
        estimates: Their interquartile means, by contender.
        leader: The contender with the highest.
        alike: Contenders that the runs do not tell from the leader (permutation test, p > 0.05), the leader among them.
    """

    task: Task
    steps: int
    returns: dict[str, Float[np.ndarray, " runs"]]
    estimates: dict[str, Estimate]
    leader: str
    alike: frozenset[str]


def moments(tasks: Sequence[Task], at: Sequence[int], seed: int) -> list[Moment]:
    """Return every task after each number of steps that some contender's budget reaches.

    A contender whose budget ends before, or that has a run without a finite return by then, takes no part.

    Args:
        tasks: Analyzed tasks.
        at: Environment steps.
        seed: Seed of the permutation test.
    """
    return [found for task in tasks for steps in at if (found := _moment(task, steps, seed)) is not None]


def _moment(task: Task, steps: int, seed: int) -> Moment | None:
    returns = {cell.contender: _returns(cell, steps) for cell in task.cells if cell.budget >= steps}
    returns = {name: values for name, values in returns.items() if np.isfinite(values).all()}
    if not returns:
        return None
    estimates = {name: estimate([values]) for name, values in returns.items()}
    leader = max(estimates, key=lambda name: estimates[name].value)
    alike = {
        name
        for name, values in returns.items()
        if name == leader or permutation_p(returns[leader], values, seed) > 1 - LEVEL
    }
    return Moment(task, steps, returns, estimates, leader, frozenset(alike))


def _returns(cell: Cell, steps: int) -> np.ndarray:
    return np.array([on_grid(run.steps, run.returns, np.array([steps]))[0] for run in cell.runs])


def moment_rows(found: Sequence[Moment]) -> Rows:
    """Return a row per task and number of steps with a column per contender, a header first.

    The highest number of a row is bold; `~` marks those that the runs do not tell from it.
    """
    names = list(dict.fromkeys(name for moment in found for name in moment.returns))
    rows = [["task", "steps", *names]]
    for moment in found:
        line = [moment.task.label, compact(moment.steps)]
        for name in names:
            number = text(moment.estimates[name]) if name in moment.estimates else ""
            if name == moment.leader:
                number = f"**{number}**"
            elif name in moment.alike:
                number += " ~"
            line.append(number)
        rows.append(line)
    return rows
