"""The report job behind its entry point: read, compare, write, show."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_pz.checks import at_least
from lightning_pz.comparison import tables
from lightning_pz.comparison.analysis import Task, analyze
from lightning_pz.comparison.moments import Moment, moment_rows, moments
from lightning_pz.comparison.pool_best import PoolBest, find_pools, logs_root
from lightning_pz.comparison.runs import Found, cells, find_runs
from lightning_pz.comparison.wins import FEW, Round, rounds
from lightning_pz.console import table
from lightning_pz.errors import UserError

_NAMED = 5


@dataclass(frozen=True)
class Report:
    """What a report holds.

    Attributes:
        folder: Where it was written.
        tasks: Numbers of each task.
        rounds: Wins.
        pools: The evaluation used for each environment.
        found: The runs, and what was left out.
        moments: Returns after the numbers of steps that were asked for.
    """

    folder: Path
    tasks: list[Task]
    rounds: list[Round]
    pools: dict[str, PoolBest]
    found: Found
    moments: list[Moment]


def report(
    folders: Sequence[Path],
    out: Path | None,
    evaluations: Sequence[Path],
    draws: int,
    seed: int,
    at: Sequence[int] = (),
) -> Report:
    """Compare the runs below the folders and write the report.

    Args:
        folders: Folders of `finetune` runs, at any level.
        out: Where to write; `report/<env>` beside `finetune` if None.
        evaluations: summary.json files of `evaluate`.
        draws: Draws of areas, for the number of tasks that each algorithm leads.
        seed: Seed of these draws and of the permutation test.
        at: Environment steps after which returns are told in a table of their own.

    Raises:
        UserError: An option is out of its range, or the runs cannot be compared.
    """
    at_least(1, {"at": min(at, default=1)})
    if draws < 100:
        raise UserError(f"--draws expects at least 100 draws, for fewer give no 95 % interval, but got {draws}")
    if seed < 0:
        raise UserError(f"--seed expects at least 0, but got {seed}")
    if out is not None and out.exists() and not out.is_dir():
        raise UserError(f"--out expects a folder, but {out} is a file: give another place")
    found = find_runs(folders)
    grouped = cells(found.runs)
    pools = find_pools(found.runs, evaluations)
    tasks = analyze(grouped, pools)
    results = rounds(tasks, draws, seed)
    if out is None:
        envs = "-".join(dict.fromkeys(task.env for task in tasks))
        out = (logs_root(found.runs[0]) or Path("logs")) / "report" / envs
    made = Report(_shortest(out), tasks, results, pools, found, moments(tasks, at, seed))
    _write(made)
    return made


def show(made: Report) -> None:
    """Print the table, what was used, what to do next, and last the folder."""
    whole = made.rounds[0]
    rows = tables.console_rows(made.tasks, whole.wins)
    print()
    print(table(rows[1:], rows[0]))
    print()
    if any(win.verdict == FEW for win in whole.wins):
        print("  open: with so few seeds no difference could be told from chance")
    for env in dict.fromkeys(task.env for task in made.tasks):
        pool = made.pools.get(env)
        used = f"{pool.policies:,} policies, {pool.path}" if pool else "unknown; run python -m lightning_pz.evaluate"
        print(f"  best in the pool, {env}: {used}")
    for path, reason in made.found.left_out[:_NAMED]:
        print(f"  left out: {path}: {reason}")
    if (more := len(made.found.left_out) - _NAMED) > 0:
        print(f"  left out: {more} more, see report.md")
    print(f"\n  next: {_next(made)}\n")
    print(made.folder)


def _next(made: Report) -> str:
    """Return the command that would help most: more seeds where they are too few to decide, else reading."""
    for win in made.rounds[0].wins:
        if win.verdict == FEW and win.runner_up is not None:
            fewer = min(win.runner_up, win.leader, key=lambda cell: len(cell.runs))
            return (
                f"python -m lightning_pz.finetune --config {fewer.runs[0].folder / 'config.yaml'} "
                f"--seed {max(fewer.seeds) + 1} --seeds {max(1, 5 - len(fewer.runs))}"
            )
    return f"cat {made.folder / 'report.md'}"


def _write(made: Report) -> None:
    # Only now: drawing takes a second to import.
    from lightning_pz.comparison.figures import learning_curves, overview, save, style_indices

    made.folder.mkdir(parents=True, exist_ok=True)
    files = {
        "cells.csv": tables.cells_csv(made.tasks),
        "runs.csv": tables.runs_csv(made.tasks),
        "wins.csv": tables.wins_csv(made.rounds),
        "report.md": tables.markdown(
            made.tasks, made.rounds, made.pools, made.found.left_out, moment_rows(made.moments)
        ),
    }
    for name, content in files.items():
        path = made.folder / name
        temporary = path.with_name(f"{name}.{os.getpid()}.tmp")
        temporary.write_text(content)
        temporary.replace(path)
    names = style_indices(list(dict.fromkeys(cell.contender for task in made.tasks for cell in task.cells)))
    for task in made.tasks:
        save(learning_curves(task, names), made.folder / "figures" / tables.figure_name(task))
    save(overview(made.tasks, made.rounds[0], names), made.folder / "figures" / "overview")


def _shortest(path: Path) -> Path:
    """Return the path relative to the working folder where it lies below it."""
    full = path.absolute()
    return full.relative_to(Path.cwd()) if full.is_relative_to(Path.cwd()) else full
