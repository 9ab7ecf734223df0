"""Tables of the few-episode study: returns, leads, areas, all from finished runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lightning_pz.common.statistics import mean_interval
from lightning_pz.common.tables import Table
from lightning_pz.comparison.answers_at import Verdict, area_by_episodes, decide_at
from sweeps.few_episodes.few_grid import FewGrid
from sweeps.few_episodes.ledger import RunRow, longest

SIGNIFICANT = "*"
"""Marks a lead that a permutation test bears out against every rival."""
_SHORT = {
    " (RL Zoo)": "",
    "latents of a random pool": "random pool",
    "weights from the pool": "weights",
    "latent ": "",
    "PGPE, ": "",
}


@dataclass(frozen=True)
class TaskAnswers:
    """All finished runs on one task."""

    env: str
    task: str
    runs: dict[str, list[RunRow]]  # by contender, in the order of the study
    still: float  # return of the policy that does nothing

    @property
    def label(self) -> str:
        """Name of the task in tables."""
        return f"{self.env} {self.task}"

    def returns(self, names: Sequence[str], count: int) -> dict[str, np.ndarray]:
        """Return each contender's returns after so many episodes, without contenders that have fewer than two runs."""
        found = {
            name: np.array([row.answers[count] for row in self.runs.get(name, []) if count in row.answers])
            for name in names
        }
        return {name: values for name, values in found.items() if len(values) > 1}


def collect_answers(grid: FewGrid, rows: Sequence[RunRow], still: Mapping[tuple[str, str], float]) -> list[TaskAnswers]:
    """Sort finished runs by task, in the order of the study."""
    best, found = longest(rows), []
    for env, where in grid.environments.items():
        for task in where.tasks:
            own = [row for row in best if (row.env, row.task) == (env, task)]
            runs = {name: [row for row in own if row.contender == name] for name in grid.contenders}
            if own:
                found.append(
                    TaskAnswers(env, task, {name: each for name, each in runs.items() if each}, still[env, task])
                )
    return found


def names_of(grid: FewGrid, *kinds: str) -> list[str]:
    """Return the contenders of some kinds."""
    return [name for name, contender in grid.contenders.items() if contender.kind in kinds]


def verdict_at(grid: FewGrid, one: TaskAnswers, count: int) -> Verdict | None:
    """Return how ours stand after so many episodes."""
    return decide_at(one.returns(names_of(grid, "ours"), count), one.returns(names_of(grid, "rival"), count), one.still)


def leads_table(grid: FewGrid, found: Sequence[TaskAnswers], at: Sequence[int] | None = None) -> Table:
    """Return who leads each task after each number of episodes, or after some; of ours the lead over the strongest rival."""
    rows, counts = [], grid.at if at is None else [count for count in grid.at if count in at]
    for one in found:
        cells = []
        for count in counts:
            verdict = verdict_at(grid, one, count)
            cells.append("-" if verdict is None else _lead(verdict))
        rows.append([one.env, one.task, *cells])
    return Table(["environment", "task", *map(str, counts)], rows)


def count_sentence(grid: FewGrid, found: Sequence[TaskAnswers], at: Sequence[int] = (5, 20)) -> str:
    """Return in words on how many tasks ours lead."""
    parts = []
    for count in at:
        verdicts = [verdict for one in found if (verdict := verdict_at(grid, one, count)) is not None]
        leads, sure = (sum(getattr(verdict, name) for verdict in verdicts) for name in ("leads", "is_significant"))
        parts.append(
            f"after {count} episodes the best of ours leads every rival and doing nothing on {leads} of {len(verdicts)} "
            f"tasks, on {sure} of them significantly (permutation test, p <= 0.05 against each rival, uncorrected)"
        )
    return "; ".join(parts) + "."


def returns_table(grid: FewGrid, found: Sequence[TaskAnswers]) -> Table:
    """Return every contender's mean return with its interval over runs, a row per task, contender and episode count."""
    rows = []
    for one in found:
        for name, runs in one.runs.items():
            for count in grid.at:
                values = np.array([row.answers[count] for row in runs if count in row.answers])
                if len(values):
                    rows.append([one.env, one.task, name, count, len(values), mean_interval(values)])
            ends = np.array([row.end for row in runs])
            steps = f"end ({round(float(np.mean([row.env_steps for row in runs]))):,} steps)"
            rows.append([one.env, one.task, name, steps, len(ends), mean_interval(ends)])
    return Table(["environment", "task", "contender", "episodes", "runs", "return"], rows)


def verdicts_table(grid: FewGrid, found: Sequence[TaskAnswers]) -> Table:
    """Return our best contender against every rival: lead, p-value, probability of improvement."""
    rows = []
    for one in found:
        for count in grid.at:
            if (verdict := verdict_at(grid, one, count)) is not None:
                for rival in verdict.rivals:
                    rows.append([
                        one.env, one.task, count, verdict.ours, verdict.mean, rival.name, rival.mean, rival.lead, rival.p,
                        rival.improvement, verdict.still,
                    ])  # fmt: skip
    header = [
        "environment",
        "task",
        "episodes",
        "ours",
        "return",
        "rival",
        "rival's return",
        "lead",
        "p",
        "P(improvement)",
        "doing nothing",
    ]
    return Table(header, rows)


def areas(grid: FewGrid, one: TaskAnswers, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the area of each run over the first episodes of a task, by contender, where answers reach that far."""
    end = grid.environments[one.env].area
    counts = [count for count in grid.at if count <= end]
    found = {}
    for name in names:
        # The last count bounds the area: its own answer does not enter.
        whole = [row for row in one.runs.get(name, []) if all(count in row.answers for count in counts)]
        values = [area_by_episodes(counts, np.array([row.answers[count] for count in counts]), end) for row in whole]
        if len(values) > 1:
            found[name] = np.array(values)
    return found


def claim_table(grid: FewGrid, found: Sequence[TaskAnswers]) -> Table:
    """Return the published claim on the paper's tasks: area under the curve, for each of ours and the strongest rivals."""
    kinds: dict[str, Callable[[], list[str]]] = {
        "ours, grown pool": lambda: [n for n in names_of(grid, "ours") if grid.contenders[n].pool == "grown"],
        "ours, random pool": lambda: [n for n in names_of(grid, "ours") if grid.contenders[n].pool == "random"],
        "tuned rivals": lambda: names_of(grid, "rival"),
        "default rivals": lambda: names_of(grid, "default"),
    }
    rows = []
    for one in (one for one in found if grid.environments[one.env].paper):
        cells = []
        for names in kinds.values():
            own = areas(grid, one, names())
            best = max(own, key=lambda name: own[name].mean(), default=None)
            cells.append("-" if best is None else f"{own[best].mean():.4g} ({best})")
        rows.append([one.env, one.task, grid.environments[one.env].area, *cells])
    return Table(["environment", "task", "episodes", *kinds], rows)


def all_tables(grid: FewGrid, found: Sequence[TaskAnswers]) -> dict[str, Table]:
    """Return every table by the name of its file."""
    return {
        "few-leads": leads_table(grid, found), "few-claim": claim_table(grid, found), "few-returns": returns_table(grid, found),
        "few-verdicts": verdicts_table(grid, found),
    }  # fmt: skip


def leader(verdict: Verdict) -> str:
    """Return a short name of who leads: one of ours, a rival, or doing nothing."""
    strongest = verdict.rivals[0]
    name = verdict.ours if verdict.leads else strongest.name if strongest.lead <= 0 else "nothing"
    for long, short in _SHORT.items():
        name = name.replace(long, short)
    return name


def _lead(verdict: Verdict) -> str:
    strongest = verdict.rivals[0]
    lead = strongest.lead if strongest.lead <= 0 else min(strongest.lead, verdict.mean - verdict.still)
    return f"{leader(verdict)} {lead:+.3g}{SIGNIFICANT if verdict.is_significant else ''}"
