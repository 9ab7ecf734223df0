"""On how many tasks ours lead: the verdicts of the few-episode study in numbers, for every way to say who "ours" is.

The best of several contenders, chosen by the very returns that are compared, leads too easily. Beside it stand the one that
the other growths would choose, which is not, and each contender alone, which is what a user gets who has no time to choose.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lightning_pz.common.statistics import LEVEL
from lightning_pz.common.tables import Table
from lightning_pz.comparison.answers_at import (
    Verdict,
    cross_chosen,
    decide_at,
    holm,
    improvement_interval,
)
from sweeps.few_episodes.few_grid import RIVALS, FewGrid
from sweeps.few_episodes.few_tables import TaskAnswers, Value, after, area_of, names_of, verdict_by

BEST, CHOSEN = "best of ours", "best of ours by the other growths"


def of_shared_growths(one: TaskAnswers, names: Sequence[str], value: Value) -> dict[str, np.ndarray]:
    """Return the values of contenders in order of the growths, of the contenders that have run from most growths.

    A contender that lacks one of those growths is left out, and not the growth: growths differ, so that without some of them a
    mean would be of others than the study's. Fewer than two growths are none.
    """
    found = one.by_seed(names, value)
    most = max((set(values) for values in found.values()), key=len, default=set())
    return {
        name: np.array([values[seed] for seed in sorted(most)])
        for name, values in found.items()
        if len(most) > 1 and set(values) == most
    }


def said_of(
    grid: FewGrid, one: TaskAnswers, who: str, ours: Sequence[str], rivals: Sequence[str], value: Value
) -> Verdict | None:
    """Return how ours stand on a task against rivals; `who` is `BEST`, `CHOSEN` or one of ours alone."""
    if who != CHOSEN:
        return verdict_by(one, ours if who == BEST else [who], rivals, value)
    runs = of_shared_growths(one, ours, value)
    return decide_at({CHOSEN: cross_chosen(runs)} if runs else {}, one.values(rivals, value, least=1), one.still)


def count_tables(grid: FewGrid, found: Sequence[TaskAnswers]) -> dict[str, Table]:
    """Return every table of verdicts by the name of its file."""
    tables = {"counts": count_table, "improvement": improvement_table}
    tables |= {"claim-counts": claim_counts} if grid.has_claim else {}
    return {f"{grid.name}-{name}": make(grid, found) for name, make in tables.items()}


def count_table(grid: FewGrid, found: Sequence[TaskAnswers]) -> Table:
    """Return on how many tasks ours lead every rival and doing nothing, and how surely.

    At the decisive counts for each of ours alone, at any for the best of them.
    """
    ours, rivals = names_of(grid, "ours"), names_of(grid, *RIVALS)
    rows = []
    for who in (BEST, CHOSEN, *ours):
        for count in (count for count in grid.at if who in (BEST, CHOSEN) or count in grid.decisive):
            own = [said_of(grid, one, who, ours, rivals, after(count)) for one in found]
            if any(own):
                rows.append([who, count, *_counts(own)])
    return Table(["ours", grid.by, *_COUNTED], rows)


def claim_counts(grid: FewGrid, found: Sequence[TaskAnswers]) -> Table:
    """Return on how many of the paper's tasks ours have the larger area under the curve: kinds of pools by kinds of rivals."""
    paper = [one for one in found if grid.environments[one.env].paper]
    pools = list(dict.fromkeys(grid.contenders[name].pool for name in names_of(grid, "ours")))
    rows = []
    for pool in pools:
        ours = [name for name in names_of(grid, "ours") if grid.contenders[name].pool == pool]
        for kind, words in (("rival", "tuned"), ("default", "default")):
            for who in (BEST, CHOSEN, *ours) if len(ours) > 1 else ours:
                own = [said_of(grid, one, who, ours, names_of(grid, kind), area_of(grid, one.env)) for one in paper]
                if any(own):
                    rows.append([pool, who, words, *_counts(own)])
    return Table(["pool", "ours", "rivals", *_COUNTED], rows)


def improvement_table(grid: FewGrid, found: Sequence[TaskAnswers]) -> Table:
    """Return the best of ours by the other growths against the strongest rival: lead, p, probability of improvement."""
    ours, rivals = names_of(grid, "ours"), names_of(grid, *RIVALS)
    rows = []
    for one in found:
        for count in (count for count in grid.at if count in grid.decisive):
            if (verdict := said_of(grid, one, CHOSEN, ours, rivals, after(count))) is None:
                continue
            strongest = verdict.rivals[0]
            own = cross_chosen(of_shared_growths(one, ours, after(count)))
            theirs = one.values([strongest.name], after(count), least=1)[strongest.name]
            rows.append([
                one.env, one.task, count, verdict.mean, strongest.name, strongest.mean, strongest.lead, strongest.p,
                improvement_interval(own, theirs), verdict.still,
            ])  # fmt: skip
    header = [
        "environment",
        "task",
        grid.by,
        "return",
        "strongest rival",
        "its return",
        "lead",
        "p",
        "P(improvement)",
    ]
    return Table([*header, "doing nothing"], rows, {"p": ".3g"})


def count_sentence(grid: FewGrid, found: Sequence[TaskAnswers]) -> str:
    """Return in words on how many tasks the best of ours leads."""
    rows = [row for row in count_table(grid, found).rows if row[0] == BEST and row[1] in grid.decisive]
    parts = [
        f"after {count:,} {grid.by} on {leads} of {tasks} tasks, on {sure} significantly"
        for _, count, tasks, leads, sure, *_ in rows
    ]
    return (
        f"The {BEST} leads every rival and doing nothing {'; '.join(parts) or 'nowhere yet'} (permutation test, p <= 0.05 "
        "against each rival, not corrected for the number of tasks)."
    )


_COUNTED = ("tasks", "leads", "significantly", "with Holm's correction", "of too few runs for it")


def _counts(verdicts: Sequence[Verdict | None]) -> list[int]:
    """Return numbers of tasks: compared, led, led with p <= 0.05 (see `Verdict.p`), the same corrected for all tasks.

    The last number is of tasks that are led, but with so few runs that none of their outcomes passes the correction.
    """
    known = [verdict for verdict in verdicts if verdict is not None]
    corrected = holm([verdict.p for verdict in known])
    best = holm([verdict.least_p for verdict in known])
    few = sum(verdict.leads and bool(least > 1 - LEVEL) for verdict, least in zip(known, best, strict=True))
    leads, sure = (sum(getattr(verdict, name) for verdict in known) for name in ("leads", "is_significant"))
    return [len(known), leads, sure, int((corrected <= 1 - LEVEL).sum()), few]
