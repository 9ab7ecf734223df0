"""What a user would hold after the first episodes or steps of a new task: return against them, and who leads.

Runs what is missing, of all the study or of the named part, and draws whatever is finished; `--show` only draws. Finished
runs are rows of `runs.csv` in `logs/sweeps/STUDY`, beside the figures and tables; the rows that come with the
package count as well, so that their runs are not repeated.
"""

from __future__ import annotations

import contextlib
import functools
import io
import math
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lightning_pz.common.errors import UserError
from lightning_pz.common.files import alone, write_text
from lightning_pz.envs.presets import resolve_env
from lightning_pz.finetune import parse
from lightning_pz.jobs.finetune_settings import check_task
from lightning_pz.search.settings import check_algorithm_package
from sweeps.crew import open_crew
from sweeps.few_episodes.few_grid import Cell, FewGrid, load_few_episodes, part_of
from sweeps.few_episodes.few_page import every_table, page_tables, publish
from sweeps.few_episodes.few_tables import TaskAnswers, collect_answers
from sweeps.few_episodes.ledger import RunRow, add_to_ledger, all_shipped, read_ledger, row_of_run
from sweeps.few_episodes.run_key import run_key, search_of
from sweeps.fits import Fit, check_all, pool_waves
from sweeps.folders import changed_grid, grid_path, tables_folder
from sweeps.options import FewEpisodesOptions
from sweeps.optuna_study.reading import errors_from

CPU_SECONDS = "cpu_seconds"
"""File in the folder of a fit that this study made in one sitting, its pool included."""
_FIGURES = ("leads", "curves")
_ON_A_TERMINAL = 5
"""Counts of the closing table; the files have all."""


def run(study: str, options: FewEpisodesOptions) -> None:
    """Run what is missing, and draw what is finished."""
    whole, finished, folder = finish(study, options)
    found = collect_answers(whole, finished, still_returns(whole, {(row.env, row.task) for row in finished}))
    _draw(whole, found, folder)
    if options.publish:
        pages = page_tables(whole, found, study)
        is_decided = f"{whole.name}-leads" in pages
        figures = [folder / f"{whole.name}_{kind}.png" for kind in _FIGURES] if is_decided else []
        publish(pages, figures, finished, study)


def finish(study: str, options: FewEpisodesOptions) -> tuple[FewGrid, list[RunRow], Path]:
    """Run what is missing of the named part; return the whole study, all of its finished runs, and its folder."""
    path = grid_path(study, options.grid)
    whole = load_few_episodes(path)
    grid = part_of(whole, path, options.env, options.contender)
    _check(grid, str(path))
    # One folder for all parts, since a run belongs to the whole study.
    folder = tables_folder(options.logs, study, [], changed_grid(study, path))
    ledger = folder / "runs.csv"
    rows = {row.key: row for row in [*all_shipped(), *read_ledger(ledger)]}
    nothing = UserError(f"no run of {path} is finished: leave --show out, so that they are made")
    if options.show and not rows:
        raise nothing
    # Seed by seed, so that a study that takes days soon has a word on every task.
    cells = sorted((cell for cell in grid.cells() if run_key(cell) not in rows), key=lambda cell: cell.seed)
    if not options.show:
        check_all([cell.fit(options.logs) for cell in cells], str(path))
        for row in _run_cells(cells, options):
            rows[row.key] = row
            add_to_ledger(ledger, [row])
    names = {run_key(cell): cell.name for cell in whole.cells()}
    # A run of another study may have another name there.
    finished = [replace(row, contender=names[row.key]) for row in rows.values() if row.key in names]
    if not finished:
        raise nothing
    add_to_ledger(ledger, finished)
    return whole, finished, folder


def _run_cells(cells: Sequence[Cell], options: FewEpisodesOptions) -> Iterator[RunRow]:
    """Yield the row of each run as it ends."""

    def tell(number: int) -> None:
        cell = cells[number]
        print(f"run {number + 1} of {len(cells)}: {cell.name}, {cell.env} {cell.task}, seed {cell.seed}", flush=True)

    with open_crew(options, options.logs) as crew:
        if not crew.is_here:  # where each fit is made just before its first run
            fits = [cell.fit(options.logs) for cell in cells]
            for wave in pool_waves([fit for fit in fits if fit.summary is None]):
                for number, _ in crew.run(_make_fit, wave):
                    print(f"fit: {wave[number].folder}", flush=True)
        for _, row in crew.run(functools.partial(_run, logs=options.logs), cells, tell):
            yield row


def _run(cell: Cell, logs: str) -> RunRow:
    from lightning_pz.jobs.finetune import finetune

    fit = cell.fit(logs)
    _make_fit(fit, quiet=not cell.reads_pool)
    # The same run may be under way in a worker that an earlier command has left.
    lock = alone(Path(logs) / "sweeps" / "locks" / f"run-{run_key(cell)}")
    with lock, contextlib.redirect_stdout(io.StringIO()):  # a closing table for each of a thousand runs
        (done,) = finetune(*parse(cell.command(logs, fit.checkpoint)))
    return row_of_run(done.folder, run_key(cell), cell.env, cell.task, cell.name, cell.seed)


def _make_fit(fit: Fit, *, quiet: bool = False) -> None:
    """Do a fit unless it is finished, and note its CPU seconds if it, and its pool, were made in this sitting."""
    is_new, cpu = not fit.folder.exists(), time.process_time()
    pools = {path.resolve() for path in (Path(fit.logs) / "pools").glob("*")}  # one that was begun before, too
    pool = Path(fit.run(quiet=quiet)["pool"]).resolve()
    if is_new and pool not in pools:
        write_text(fit.folder / CPU_SECONDS, f"{time.process_time() - cpu:.1f}\n")


def _draw(grid: FewGrid, found: Sequence[TaskAnswers], folder: Path) -> None:
    from lightning_pz.common.plotting import save_figure
    from sweeps.few_episodes import few_counts, few_figures, few_tables

    for name, table in every_table(grid, found).items():
        write_text(folder / f"{name}.csv", table.csv())
        write_text(folder / f"{name}.md", table.markdown())
    save_figure(few_figures.return_curves(grid, found), folder / f"{grid.name}_curves")
    save_figure(few_figures.lead_map(grid, found), folder / f"{grid.name}_leads")
    some = [grid.at[number] for number in np.linspace(0, len(grid.at) - 1, _ON_A_TERMINAL).round().astype(int)]
    print(f"\n{few_tables.leads_table(grid, found, some).console(2)}\n\n{few_counts.count_sentence(grid, found)}")
    figures = ", ".join(str(folder / f"{grid.name}_{kind}.png") for kind in _FIGURES)
    print(f"\n  next: {figures}\n\n{folder}")


def still_returns(grid: FewGrid, places: Collection[tuple[str, str]]) -> dict[tuple[str, str], float]:
    """Return what the policy earns that does nothing, on the test episodes of an answer; -inf where an action is a choice."""
    import torch

    from lightning_pz.common.processes import available_cores
    from lightning_pz.envs.episode_seeds import TEST_SEEDS
    from lightning_pz.envs.rollout import rollout
    from lightning_pz.envs.specs import env_spec
    from lightning_pz.envs.tasks import find_tasks
    from lightning_pz.policy import Layout, PolicyNetwork

    found: dict[tuple[str, str], float] = {}
    for env in sorted({env for env, _ in places}):
        names = sorted(task for other, task in places if other == env)
        plain = resolve_env(env)["env"]
        spec = env_spec(plain["id"], plain.get("horizon"), plain.get("kwargs"))
        if spec.choices:  # none of which need be rest
            found |= {(env, task): -math.inf for task in names}
            continue
        size, low, high = spec.observation_size, torch.tensor(spec.action_low), torch.tensor(spec.action_high)
        layout = Layout(size, (), spec.action_size)
        network = PolicyNetwork(layout, torch.zeros(size), torch.ones(size), low, high)
        # Zero weights give the middle of the box; where that is no rest, the bias makes up for it.
        params = torch.zeros(1, layout.num_params)
        params[:, -spec.action_size :] = torch.atanh(((0.0 - low) / (high - low) * 2 - 1).clamp(-0.999999, 0.999999))
        seeds = range(TEST_SEEDS, TEST_SEEDS + grid.finetune.get("answer_episodes", 50))
        played = rollout(network, params, spec, seeds, find_tasks(spec.id, names), threads=available_cores())
        for task in names:
            value = float(played.returns[task].mean())
            found[env, task] = value if math.isfinite(value) else -math.inf
    return found


def _check(grid: FewGrid, path: str) -> None:
    """Refuse a mistake in the last cell before the first hour is spent."""
    for cell in grid.cells():
        with errors_from(f"{path}: {cell.name} on {cell.env}"):
            check_task(_env_id(cell.env), cell.task)
            search = search_of(cell)
            check_algorithm_package(search.algorithm)
            if 0 not in search.answers_at:
                raise UserError(f"answers_at expects a list that begins with 0, but got {search.answers_at}")


@functools.cache
def _env_id(env: str) -> str:
    return resolve_env(env)["env"]["id"]
