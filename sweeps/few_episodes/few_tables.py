"""Tables of the few-episode study: returns, leads, areas, all from finished runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lightning_pz.common.statistics import Estimate, mean_interval
from lightning_pz.common.tables import Table
from lightning_pz.comparison.answers_at import Verdict, area_by_episodes, decide_at
from sweeps.few_episodes.few_grid import RIVALS, FewGrid
from sweeps.few_episodes.growths import runs_of_growths
from sweeps.few_episodes.ledger import RunRow, longest

SIGNIFICANT = "*"
"""Marks a lead that a permutation test bears out against every rival."""
NOTHING = "nothing"
"""Leads where a policy that does nothing returns most."""
_SHORT = {
    " (RL Zoo)": "",
    "latents of a random pool": "random pool",
    ", steady start": " steady",
    "Bayesian optimization": "BO",
    "weights from the pool": "weights",
    "weights learned from the growth": "learned",
    "latent ": "",
    "PGPE, ": "",
}
Value = Callable[[RunRow], float | None]
"""What a run is compared by; None for a run that does not reach so far."""


@dataclass(frozen=True)
class TaskAnswers:
    """All finished runs on one task."""

    env: str
    task: str
    runs: dict[str, list[RunRow]]  # by contender, in the order of the study; of ours one for each growth
    still: float  # return of the policy that does nothing

    @property
    def label(self) -> str:
        """Name of the task in tables."""
        return f"{self.env} {self.task}"

    def by_seed(self, names: Sequence[str], value: Value, least: int = 2) -> dict[str, dict[int, float]]:
        """Return what each contender's runs are compared by, by seed, without contenders that have fewer than `least`."""
        found = {
            name: {row.seed: number for row in self.runs.get(name, []) if (number := value(row)) is not None}
            for name in names
        }
        return {name: dict(sorted(values.items())) for name, values in found.items() if len(values) >= least}

    def values(self, names: Sequence[str], value: Value, least: int = 2) -> dict[str, np.ndarray]:
        """Return the same as arrays, (runs,), in order of the seeds."""
        return {name: np.array(list(values.values())) for name, values in self.by_seed(names, value, least).items()}


def after(count: int) -> Value:
    """Return the return of the answer at a count as what runs are compared by."""
    return lambda row: row.answers.get(count)


def area_of(grid: FewGrid, env: str) -> Value:
    """Return the area under the curve over the first episodes of an environment as what runs are compared by."""
    end = grid.environments[env].area
    counts = [count for count in grid.at if count <= end]

    def value(row: RunRow) -> float | None:
        if not all(count in row.answers for count in counts):
            return None
        return area_by_episodes(counts, np.array([row.answers[count] for count in counts]), end)

    return value


def collect_answers(grid: FewGrid, rows: Sequence[RunRow], still: Mapping[tuple[str, str], float]) -> list[TaskAnswers]:
    """Sort finished runs by task, in the order of the study; of ours those from one growth are one, see `runs_of_growths`.

    The last answer of a run that ends less than a tenth before a count, since another generation would have gone beyond
    its budget, is the answer after that count as well: a user would hold no other. So it is at every count for one of ours
    that plays no episode. An answer that is not finite counts as the worst on its task.
    """
    best, found = [_filled(row, grid) for row in longest(rows)], []
    for env, where in grid.environments.items():
        for task in where.tasks:
            own = _finite([row for row in best if (row.env, row.task) == (env, task)])
            runs = {
                name: runs_of_growths(grid, name, env, [row for row in own if row.contender == name])
                for name in grid.contenders
            }
            if own:
                found.append(
                    TaskAnswers(env, task, {name: each for name, each in runs.items() if each}, still[env, task])
                )
    return found


def _finite(rows: Sequence[RunRow]) -> list[RunRow]:
    """Return runs of one task with the lowest answer of all in the place of each that is not finite."""
    worst = min((value for row in rows for value in row.answers.values() if np.isfinite(value)), default=float("nan"))

    def known(value: float) -> float:
        return value if np.isfinite(value) else worst

    return [
        dataclasses.replace(row, end=known(row.end), answers={c: known(value) for c, value in row.answers.items()})
        for row in rows
    ]


def _filled(row: RunRow, grid: FewGrid) -> RunRow:
    taken = row.episodes if grid.by == "episodes" else row.env_steps
    holds = grid.contenders[row.contender].kind == "ours" and row.env_steps == 0
    ends = {c: row.end for c in grid.at if c not in row.answers and (holds or 0.9 * c <= taken < c)}
    return dataclasses.replace(row, answers=row.answers | ends)


def names_of(grid: FewGrid, *kinds: str) -> list[str]:
    """Return the contenders of some kinds."""
    return [name for name, contender in grid.contenders.items() if contender.kind in kinds]


def verdict_by(one: TaskAnswers, ours: Sequence[str], rivals: Sequence[str], value: Value) -> Verdict | None:
    """Return how the best of ours stands on a task, or None where ours have fewer than two runs, or rivals none.

    A single run of a rival's can take a lead from us; no test lets us lead it significantly.
    """
    return decide_at(one.values(ours, value), one.values(rivals, value, least=1), one.still)


def verdict_at(grid: FewGrid, one: TaskAnswers, count: int) -> Verdict | None:
    """Return how ours stand at a count."""
    return verdict_by(one, names_of(grid, "ours"), names_of(grid, *RIVALS), after(count))


def leads_table(grid: FewGrid, found: Sequence[TaskAnswers], at: Sequence[int] | None = None) -> Table:
    """Return who leads each task at each count, or at some; of ours the lead over the strongest rival."""
    rows, counts = [], grid.at if at is None else [count for count in grid.at if count in at]
    for one in found:
        cells = []
        for count in counts:
            verdict = verdict_at(grid, one, count)
            cells.append("-" if verdict is None else _lead(verdict))
        rows.append([one.env, one.task, *cells])
    return Table(["environment", "task", *map(count_text, counts)], rows)


def returns_table(grid: FewGrid, found: Sequence[TaskAnswers]) -> Table:
    """Return every contender's mean return with its interval over runs, a row per task, contender and count."""
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
    return Table(["environment", "task", "contender", grid.by, "runs", "return"], rows)


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
        grid.by,
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


def claim_table(grid: FewGrid, found: Sequence[TaskAnswers]) -> Table:
    """Return the published claim on the paper's tasks: area under the curve, for each of ours and the strongest rivals."""
    grown, random = (
        [name for name in names_of(grid, "ours") if grid.contenders[name].pool == pool] for pool in ("grown", "random")
    )
    # As in the counts: one run of a rival's can take a lead from us.
    kinds = {
        "ours, grown pool": (grown, 2), "ours, random pool": (random, 2),
        "tuned rivals": (names_of(grid, "rival"), 1), "default rivals": (names_of(grid, "default"), 1),
    }  # fmt: skip
    rows = []
    for one in (one for one in found if grid.environments[one.env].paper):
        cells = []
        for names, least in kinds.values():
            own = one.values(names, area_of(grid, one.env), least)
            best = max(own, key=lambda name: own[name].mean(), default=None)
            runs = ", one run" if best is not None and len(own[best]) == 1 else ""
            cells.append("-" if best is None else f"{own[best].mean():.4g} ({best}{runs})")
        rows.append([one.env, one.task, grid.environments[one.env].area, *cells])
    return Table(["environment", "task", "episodes", *kinds], rows)


def parts_table(grid: FewGrid, found: Sequence[TaskAnswers]) -> Table:
    """Return mean returns at each count with intervals over runs, of ours with all parts and without some, a row for each.

    Only tasks on which some part was left out are shown.
    """
    rows = []
    for one in found:
        if any(name in one.runs for name in names_of(grid, "part")):
            for name in (name for name in names_of(grid, "ours", "part", *RIVALS) if name in one.runs):
                cells: list[Estimate | None] = []
                counts: list[int] = []
                for count in grid.at:
                    values = np.array([row.answers[count] for row in one.runs[name] if count in row.answers])
                    cells.append(mean_interval(values) if len(values) else None)
                    counts.append(len(values))
                rows.append([one.env, one.task, name, _runs_text(counts, len(one.runs[name])), *cells])
    return Table(["environment", "task", "contender", "runs", *[f"after {count_text(n)}" for n in grid.at]], rows)


def _runs_text(counts: Sequence[int], most: int) -> str:
    """Return how many runs there are, by count where fewer have come to some: `5, 5, 2`."""
    known = [count for count in counts if count]
    return str(most) if set(known) <= {most} else ", ".join(map(str, known))


def all_tables(grid: FewGrid, found: Sequence[TaskAnswers]) -> dict[str, Table]:
    """Return every table by the name of its file."""
    tables = {"leads": leads_table, "returns": returns_table, "verdicts": verdicts_table}
    tables |= {"claim": claim_table} if grid.has_claim else {}
    tables |= {"parts": parts_table} if names_of(grid, "part") else {}
    return {f"{grid.name}-{name}": make(grid, found) for name, make in tables.items()}


def leader_name(verdict: Verdict) -> str:
    """Return who leads: one of ours, a rival, or doing nothing."""
    strongest = verdict.rivals[0]
    return verdict.ours if verdict.leads else strongest.name if strongest.lead <= 0 else NOTHING


def leader(verdict: Verdict) -> str:
    """Return a short name of who leads."""
    return short_contender(leader_name(verdict))


def short_contender(name: str) -> str:
    """Return a contender's name in few letters."""
    for long, short in _SHORT.items():
        name = name.replace(long, short)
    return name


def count_text(count: int) -> str:
    """Return a count in few letters."""
    return f"{count // 1000}k" if count >= 1000 and not count % 1000 else str(count)


def lead_text(lead: float) -> str:
    """Return a lead with three digits, or all before the point."""
    return f"{lead:+,.0f}" if abs(lead) >= 100 else f"{lead:+.3g}"


def _lead(verdict: Verdict) -> str:
    strongest = verdict.rivals[0]
    lead = strongest.lead if strongest.lead <= 0 else min(strongest.lead, verdict.mean - verdict.still)
    return f"{leader(verdict)} {lead_text(lead)}{SIGNIFICANT if verdict.is_significant else ''}"
