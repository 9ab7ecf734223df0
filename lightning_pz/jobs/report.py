"""The report job behind its entry point: read, compare, write, show."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_pz.common.checks import at_least
from lightning_pz.common.errors import UserError
from lightning_pz.common.files import write_text
from lightning_pz.common.tables import Table
from lightning_pz.comparison import tables
from lightning_pz.comparison.analysis import Task, analyze
from lightning_pz.comparison.evaluations import PoolBest, find_pools, logs_root
from lightning_pz.comparison.returns_at import Moment, moment_rows, moments
from lightning_pz.comparison.runs import Found, cells, find_runs
from lightning_pz.comparison.wins import FEW, Round, rounds

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
        out: Where to write; `report/<env>` beside `finetune` if None, with a number if a report of other runs lies there.
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
        out = _place((logs_root(found.runs[0]) or Path("logs")) / "report", envs, found)
    made = Report(_shortest(out), tasks, results, pools, found, moments(tasks, at, seed))
    _write(made)
    return made


def show(made: Report) -> None:
    """Print the table, what was used, what to do next, and last the folder."""
    whole = made.rounds[0]
    rows = tables.console_rows(made.tasks, whole.wins)
    print()
    print(Table(rows[0], rows[1:]).console(2))
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


def _place(parent: Path, name: str, found: Found) -> Path:
    """Return where a report goes: where an earlier one of the same runs, or of some of them, lies, else a free folder.

    More runs bring a report up to date; a report of other runs is another answer.
    """
    now = {str(run.folder.resolve()) for run in found.runs}
    for number in itertools.count(1):
        folder = parent / (name if number == 1 else f"{name}-{number:03d}")
        if _runs_of(folder) <= now:
            return folder
    raise AssertionError("unreachable")


def _runs_of(folder: Path) -> set[str]:
    """Return the folders of the runs that a report in a folder is of; none if there is no report."""
    try:
        with (folder / "runs.csv").open(newline="") as file:
            return {str(Path(row["folder"]).resolve()) for row in csv.DictReader(file)}
    except (OSError, KeyError):
        return set()


def _write(made: Report) -> None:
    # Only now: drawing takes a second to import.
    from lightning_pz.comparison.figures import learning_curves, overview, save, style_indices

    files = {
        "cells.csv": tables.cells_csv(made.tasks),
        "runs.csv": tables.runs_csv(made.tasks),
        "wins.csv": tables.wins_csv(made.rounds),
        "report.md": tables.markdown(
            made.tasks, made.rounds, made.pools, made.found.left_out, moment_rows(made.moments)
        ),
    }
    for name, content in files.items():
        write_text(made.folder / name, content)
    names = style_indices(list(dict.fromkeys(cell.contender for task in made.tasks for cell in task.cells)))
    for task in made.tasks:
        save(learning_curves(task, names), made.folder / "figures" / tables.figure_name(task))
    save(overview(made.tasks, made.rounds[0], names), made.folder / "figures" / "overview")


def _shortest(path: Path) -> Path:
    """Return the path relative to the working folder where it lies below it."""
    full = path.absolute()
    return full.relative_to(Path.cwd()) if full.is_relative_to(Path.cwd()) else full
