"""What pre-training buys: growth against the return after a few episodes, and after how many tasks the pool has paid.

Runs what is missing, of all the study or of the named part, as `few_episodes` does; `--show` only draws. Leaves
`runs.csv`, a row per run, the tables `pretraining-pools`, `-returns` and `-break-even` with the sentences that they bear out,
and a figure, in `logs/sweeps/pretraining`. The grid is `conf/sweep/pretraining.yaml`: a contender of ours for each pool, and rivals.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lightning_pz.common.errors import UserError
from lightning_pz.common.files import write_text
from lightning_pz.common.plotting import save_figure
from lightning_pz.common.statistics import Estimate, mean_interval
from lightning_pz.common.tables import Table
from sweeps.few_episodes.few_command import CPU_SECONDS, finish, still_returns
from sweeps.few_episodes.few_figures import pretraining_curves
from sweeps.few_episodes.few_grid import RIVALS, FewGrid
from sweeps.few_episodes.few_page import publish, table_head
from sweeps.few_episodes.few_tables import TaskAnswers, collect_answers, names_of
from sweeps.fits import Fit
from sweeps.options import FewEpisodesOptions
from sweeps.results.pages import PageTable
from sweeps.results.publishing import cell_text


@dataclass(frozen=True)
class GrownPool:
    """A pool with its autoencoder, made before any task is known."""

    steps: int  # environment steps of the growth
    coverage: float  # at its end; see `lightning_pz.growth.figures.coverage`
    fvu: float  # of held-out policies
    cpu_seconds: float | None  # of growth and training together; None where the study did not make it in one sitting


@dataclass(frozen=True)
class BreakEven:
    """One pool against one rival on the tasks of an environment that both have run."""

    once: float  # CPU seconds of growth and training
    each: float  # CPU seconds of a search from the pool, mean over tasks and seeds
    rival: float  # CPU seconds of a whole run of the rival, likewise
    above: int  # tasks on which the pool's answer returns more than the rival's and than doing nothing, by their means
    tasks: int  # of how many

    @property
    def paid_after(self) -> float:
        """How many tasks it takes until pool and searches together have cost no more than the rival; infinity if never."""
        saved = self.rival - self.each
        return max(1.0, math.ceil(self.once / saved)) if saved > 0 else math.inf


def run(study: str, options: FewEpisodesOptions) -> None:
    """Run what is missing, and show what is finished."""
    grid, rows, folder = finish(study, options)
    ours = set(names_of(grid, "ours"))
    places = {(row.env, row.task) for row in rows if row.contender in ours}
    beside = [row for row in rows if (row.env, row.task) in places]
    found = [one for one in collect_answers(grid, beside, still_returns(grid, places)) if ours & set(one.runs)]
    if not found:
        raise UserError("no search from a pool is finished yet: leave --show out, so that they are made")
    pools = read_pools(grid, options.logs)
    balance = break_even(grid, found, pools)
    tables = {
        "pretraining-pools": pools_table(pools), "pretraining-returns": growth_table(grid, found),
        "pretraining-break-even": break_even_table(balance),
    }  # fmt: skip
    for name, table in tables.items():
        write_text(folder / f"{name}.csv", table.csv())
        write_text(folder / f"{name}.md", table.markdown())
    sentences = break_even_sentences(balance)
    words = "".join(f"* {sentence}\n" for sentence in sentences)
    write_text(folder / "pretraining.md", words)
    save_figure(pretraining_curves(grid, found), folder / "pretraining")
    print(f"\n{tables['pretraining-returns'].console(3)}\n\n{words}\n  next: {folder / 'pretraining.png'}\n\n{folder}")
    if options.publish:
        tables["pretraining-words"] = Table(["in words"], [[sentence] for sentence in sentences])
        head = table_head(grid, found, study)
        ends = dict.fromkeys(("pretraining-pools", "pretraining-returns"), "Student over seeds")
        pages = {
            name: PageTable(
                head
                | {"interval": f"{ends[name]}, 95 %; (...) the range of fewer than four" if name in ends else "none"},
                Table(list(table.header), [[cell_text(cell) for cell in row] for row in table.rows]),
            )
            for name, table in tables.items()
        }
        publish(pages, [folder / "pretraining.png"], rows, study)


def read_pools(grid: FewGrid, logs: str) -> dict[tuple[str, str], list[GrownPool]]:
    """Return the finished grown pools of the study, those that lie in the folder of logs, by environment and kind."""
    found: dict[tuple[str, str], list[GrownPool]] = {}
    fits: dict[Path, tuple[tuple[str, str], Fit]] = {}
    for cell in grid.cells():
        if cell.contender.kind == "ours":
            fit = cell.fit(logs)
            fits.setdefault(fit.folder, ((cell.env, cell.contender.pool), fit))
    for place, fit in fits.values():
        summary = fit.summary
        if summary is None or not (meta := Path(summary["pool"]) / "pool.json").is_file():
            continue
        growth = json.loads(meta.read_text()).get("growth")
        if growth:
            cost = fit.folder / CPU_SECONDS
            seconds = float(cost.read_text()) if cost.is_file() else None
            last = growth["history"][-1]
            pool = GrownPool(int(growth["steps"]), float(last["coverage"]), float(summary["test_fvu"]), seconds)
            found.setdefault(place, []).append(pool)
    return found


def growth_table(grid: FewGrid, found: Sequence[TaskAnswers]) -> Table:
    """Return the mean return of each contender's answers with its interval over runs, a row per task and contender."""
    rows = []
    for one in found:
        for name, runs in one.runs.items():
            ends: list[Estimate | None] = []
            for count in grid.decisive:
                values = np.array([row.answers[count] for row in runs if count in row.answers])
                ends.append(mean_interval(values) if len(values) else None)
            last = mean_interval(np.array([row.end for row in runs])) if _is_long(grid, one, name) else None
            rows.append([one.env, one.task, name, len(runs), *ends, last])
    counts = [f"{count} episodes" for count in grid.decisive]
    return Table(["environment", "task", "pool", "runs", *counts, f"{grid.finetune['budget']:,} steps"], rows)


def break_even(
    grid: FewGrid, found: Sequence[TaskAnswers], pools: dict[tuple[str, str], list[GrownPool]]
) -> dict[tuple[str, str, str], BreakEven]:
    """Return the balance by environment, contender of ours and rival, where CPU seconds of all parts are known."""
    balance = {}
    for env in grid.environments:
        own = [one for one in found if one.env == env]
        for ours in names_of(grid, "ours"):
            known = [pool.cpu_seconds for pool in pools.get((env, grid.contenders[ours].pool), []) if pool.cpu_seconds]
            for rival in names_of(grid, *RIVALS):
                shared = [one for one in own if ours in one.runs and rival in one.runs]
                each, theirs = (_mean_seconds(shared, name) for name in (ours, rival))
                if known and each is not None and theirs is not None:
                    above = sum(_is_above(grid, one, ours, rival) for one in shared)
                    balance[env, ours, rival] = BreakEven(float(np.mean(known)), each, theirs, above, len(shared))
    return balance


def pools_table(pools: dict[tuple[str, str], list[GrownPool]]) -> Table:
    """Return what the pools of each kind are, means over seeds."""
    rows = []
    for (env, kind), each in pools.items():
        steps = round(float(np.mean([pool.steps for pool in each])))
        seconds = [pool.cpu_seconds for pool in each if pool.cpu_seconds is not None]
        ends = [mean_interval(np.array([getattr(pool, name) for pool in each])) for name in ("coverage", "fvu")]
        rows.append([env, kind, len(each), steps, *ends, round(float(np.mean(seconds))) if seconds else None])
    header = ["environment", "pool", "seeds", "steps", "coverage", "FVU", "CPU seconds"]
    return Table(header, rows, {"steps": ",.0f", "CPU seconds": ",.0f"})


def break_even_table(balance: dict[tuple[str, str, str], BreakEven]) -> Table:
    """Return what pool, search and rival cost in CPU seconds, and after how many tasks the pool has paid."""
    rows = [
        [*names, one.once, one.each, one.rival, one.paid_after, f"{one.above} of {one.tasks}"]
        for names, one in balance.items()
    ]
    header = [
        "environment",
        "pool",
        "rival",
        "once",
        "a search",
        "a run of the rival",
        "tasks until paid",
        "tasks above rival and rest",
    ]
    return Table(header, rows, dict.fromkeys(header[3:7], ",.0f"))


def break_even_sentences(balance: dict[tuple[str, str, str], BreakEven]) -> list[str]:
    """Return the break-even in words, a sentence for each pool and rival."""
    found = []
    for (env, ours, rival), one in balance.items():
        costs = f"growth and autoencoder cost {one.once:,.0f} CPU seconds once and a search {one.each:,.0f}; {rival} costs {one.rival:,.0f} a task"
        number = f"{one.paid_after:,.0f} task{'s' * (one.paid_after > 1)}"
        paid = f"the pool has paid after {number}" if math.isfinite(one.paid_after) else "the pool never pays"
        found.append(
            f"{env}, {ours}: {costs}. So {paid}; it returns more than the rival and than doing nothing on {one.above} of {one.tasks} tasks."
        )
    return found


def _mean_seconds(found: Sequence[TaskAnswers], name: str) -> float | None:
    values = [row.cpu_seconds for one in found for row in one.runs[name] if row.cpu_seconds is not None]
    return float(np.mean(values)) if values else None


def _is_long(grid: FewGrid, one: TaskAnswers, name: str) -> bool:
    """Return whether runs go to the end of the study's budget."""
    return all(row.env_steps >= 0.9 * grid.finetune["budget"] for row in one.runs[name])


def _is_above(grid: FewGrid, one: TaskAnswers, ours: str, rival: str) -> bool:
    """Return whether ours returns more than a rival and than doing nothing, after as many episodes, or both at their end.

    After the last decisive count that both have, or at the end of a budget to which both have run.
    """
    counts = [n for n in grid.decisive if all(n in row.answers for name in (ours, rival) for row in one.runs[name])]
    both_end = not counts or all(_is_long(grid, one, name) for name in (ours, rival))
    mean, theirs = (
        float(np.mean([row.end if both_end else row.answers[counts[-1]] for row in one.runs[name]]))
        for name in (ours, rival)
    )
    return mean > max(theirs, one.still)
