"""The report job: reads runs, compares them, writes the report and prints its table."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_pz.common.files import write_text
from lightning_pz.comparison import report_page as page
from lightning_pz.comparison.analysis import ReturnsAt, Task, analyze, contenders_of, returns_at
from lightning_pz.comparison.pool_best import PoolBest, find_pools, logs_root
from lightning_pz.comparison.same_problem import versions_note
from lightning_pz.comparison.search_runs import Found, find_runs, group_runs
from lightning_pz.comparison.settings import ReportSettings
from lightning_pz.comparison.wins import FEW, Round, rounds

_NAMED = 5


@dataclass(frozen=True)
class Report:
    """What a report holds."""

    folder: Path  # where it was written
    tasks: list[Task]  # numbers of each task
    rounds: list[Round]  # wins
    pools: dict[str, PoolBest]  # the evaluation used for each environment
    found: Found  # the runs, and what was left out
    at: list[ReturnsAt]  # returns after the numbers of steps that were asked for


def report(folders: Sequence[Path], settings: ReportSettings) -> Report:
    """Compare the runs below the folders, at any level, and write the report; `UserError` if they cannot be compared."""
    found = find_runs(folders)
    grouped = group_runs(found.runs)
    pools = find_pools(found.runs, [Path(path) for path in settings.evaluation])
    tasks = analyze(grouped, pools)
    envs = "-".join(dict.fromkeys(task.env for task in tasks))
    root = logs_root(found.runs[0]) or Path("logs")
    full = Path(settings.out or _place(root / "report", envs, found)).absolute()
    folder = full.relative_to(Path.cwd()) if full.is_relative_to(Path.cwd()) else full
    results = rounds(tasks, settings.draws, settings.seed)
    made = Report(folder, tasks, results, pools, found, returns_at(tasks, settings.at, settings.seed))
    _write(made)
    return made


def print_report(made: Report) -> None:
    """Print the table, what was used, what to do next, and last the folder."""
    whole = made.rounds[0]
    print(f"\n{page.console_table(made.tasks, whole.wins).console(names=2)}\n")
    if any(win.verdict == FEW for win in whole.wins):
        print("  open: with so few seeds no difference could be distinguished from chance")
    if (
        note := versions_note([run for entry in task.entries for run in entry.runs] for task in made.tasks)
    ) is not None:
        print(f"  note: {note}")
    for env in dict.fromkeys(task.env for task in made.tasks):
        pool = made.pools.get(env)
        used = f"{pool.policies:,} policies, {pool.path}" if pool else "unknown; run python -m lightning_pz.evaluate"
        print(f"  best in the pool, {env}: {used}")
    for path, reason in made.found.left_out[:_NAMED]:
        print(f"  left out: {path}: {reason}")
    if (more := len(made.found.left_out) - _NAMED) > 0:
        print(f"  left out: {more} more, see report.md")
    print(f"\n  next: {_next_command(made)}\n")
    print(made.folder)


def _next_command(made: Report) -> str:
    """Return the command that would help most: more seeds where they are too few to decide, else reading."""
    for win in made.rounds[0].wins:
        if win.verdict == FEW and win.runner_up is not None:
            fewer = min(win.runner_up, win.leader, key=lambda entry: len(entry.runs))
            return (
                f"python -m lightning_pz.finetune --config {fewer.runs[0].folder / 'config.yaml'} "
                f"--seed {max(fewer.seeds) + 1} --seeds {max(1, 5 - len(fewer.runs))}"
            )
    return f"cat {made.folder / 'report.md'}"


def _place(parent: Path, name: str, found: Found) -> Path:
    """Return the folder of the report of these runs or of some of them, or a free folder.

    More runs bring a report up to date; a report of other runs is another answer.
    """
    now = {str(run.folder.resolve()) for run in found.runs}
    folders = (parent / (name if number == 1 else f"{name}-{number:03d}") for number in itertools.count(1))
    return next(folder for folder in folders if _runs_of(folder) <= now)


def _runs_of(folder: Path) -> set[str]:
    """Return the folders of the runs that a report in a folder is of; none if there is no report."""
    try:
        with (folder / "runs.csv").open(newline="") as file:
            return {str(Path(row["folder"]).resolve()) for row in csv.DictReader(file)}
    except (OSError, KeyError):
        return set()


def _write(made: Report) -> None:
    # Only now: drawing takes a second to import.
    from lightning_pz.common.plotting import save_figure
    from lightning_pz.comparison.figures import contender_places, learning_curves, overview

    at = page.returns_at_table(made.at)
    files = {
        "cells.csv": page.contenders_csv(made.tasks),
        "runs.csv": page.runs_csv(made.tasks),
        "wins.csv": page.wins_csv(made.rounds),
        "report.md": page.report_page(made.tasks, made.rounds, made.pools, made.found.left_out, at),
    }
    for name, content in files.items():
        write_text(made.folder / name, content)
    places = contender_places(contenders_of(made.tasks))
    figures = {page.figure_name(task): learning_curves(task, places) for task in made.tasks}
    for name, figure in (figures | {"overview": overview(made.tasks, made.rounds[0], places)}).items():
        save_figure(figure, made.folder / "figures" / name, ("png", "pdf"), dpi=200)
