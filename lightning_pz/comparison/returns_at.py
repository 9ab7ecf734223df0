"""Returns after given numbers of environment steps: what a smaller budget would have bought."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from lightning_pz.common.statistics import LEVEL, Estimate, estimate
from lightning_pz.common.tables import Table, estimate_text
from lightning_pz.comparison.analysis import Task
from lightning_pz.comparison.curves import on_grid, permutation_p
from lightning_pz.comparison.labels import short_steps


@dataclass(frozen=True)
class ReturnsAt:
    """All contenders on one task after so many environment steps."""

    task: Task  # the task
    steps: int  # environment steps
    returns: dict[str, Float[np.ndarray, " runs"]]  # return of each run's incumbent then, by contender, (runs,)
    estimates: dict[str, Estimate]  # their interquartile means, by contender
    leader: str  # the contender with the highest
    # contenders not shown to differ from the leader (permutation test, p > 0.05), the leader among them
    alike: frozenset[str]


def returns_at(tasks: Sequence[Task], at: Sequence[int], seed: int) -> list[ReturnsAt]:
    """Return every task after each number of steps that some contender's budget reaches.

    A contender whose budget ends before, or with a run that has no finite return by then, takes no part.
    """
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


def returns_at_table(found: Sequence[ReturnsAt]) -> Table:
    """Return a row per task and steps, a column per contender: the highest bold, `~` at those not shown to differ."""
    names = list(dict.fromkeys(name for one in found for name in one.returns))

    def cell(one: ReturnsAt, name: str) -> str:
        number = estimate_text(one.estimates[name]) if name in one.estimates else ""
        return f"**{number}**" if name == one.leader else number + " ~" * (name in one.alike)

    rows = [[one.task.label, short_steps(one.steps), *(cell(one, name) for name in names)] for one in found]
    return Table(["task", "steps", *names], rows)
