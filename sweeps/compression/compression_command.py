"""What is left of a trained network's return at every level of compression: `python -m sweeps compression`.

Trains the networks of the file that are not trained yet, without compression; distills each agent into every method, share
of weights that go, and seed; and trains the learners again, made small while they learn. All of it are runs of `compress`,
in `logs/compress`, which are found again. Leaves tables and figures in `logs/sweeps/compression`.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_pz import compress
from lightning_pz.common.files import write_text
from sweeps.compression.compression_grid import CompressionGrid, Level, compressing, levels, load_compression, trainings
from sweeps.crew import Crew, open_crew
from sweeps.folders import changed_grid, grid_path, tables_folder
from sweeps.options import CompressionOptions
from sweeps.optuna_study.reading import errors_from

if TYPE_CHECKING:
    from sweeps.compression.training_curves import TrainingCurve

_TABLES = {"grid": "table", "learned": "learned"}


def run(study: str, options: CompressionOptions) -> None:
    """Train and compress what is missing, and draw all of it."""
    path = grid_path(study, options.grid)
    grid = load_compression(path, options.agent)
    todo = list(levels(grid))
    with errors_from(str(path)):  # a mistake in the last one costs no training of the first
        _check(grid, todo, options.logs)
    folder = tables_folder(options.logs, study, options.agent, changed_grid(study, path))
    with open_crew(options, options.logs) as crew:
        dense = _train(crew, grid, options.logs)
        commands = [compressing(grid, level, _policy(grid, level, dense, options.logs), options.logs) for level in todo]
        found = {
            todo[number]: json.loads((done / "summary.json").read_text())
            for number, done in crew.run(_compress, commands, lambda number: print(_told(todo[number]), flush=True))
        }
    figures = _draw(grid, found, {name: _curve(grid, name, dense, options.logs) for name in grid.agents}, folder)
    if options.publish:
        from sweeps.compression.compression_tables import compression_pages
        from sweeps.results.publishing import FOLDER, publish_tables

        pages = compression_pages(grid, found, load_compression(path), FOLDER / "tables")
        publish_tables(pages, figures)
    print(f"\n{folder}")


def _check(grid: CompressionGrid, todo: Sequence[Level], logs: str) -> None:
    for training in trainings(grid, logs).values():
        compress.parse_words(list(training.words))
    files = {name: one.file(logs) or "" for name, one in grid.agents.items()}
    for name, one in grid.agents.items():
        if one.published is not None:
            _curve(grid, name, {}, logs)
    for level in todo:
        words = compressing(grid, level, files.get(level.agent, ""), logs)
        # The file of a network that is yet to be trained is none so far.
        compress.parse_words([word for word in words if word not in ("--policy=", "--reference=")])


def _train(crew: Crew, grid: CompressionGrid, logs: str) -> dict[tuple[str, int], Path]:
    """Return the folders of the dense networks."""
    wanted = trainings(grid, logs)
    names = {training.words: training.name for training in wanted.values()}
    words = list(names)
    folders: dict[tuple[str, ...], Path] = {}
    for number, folder in crew.run(
        _compress, words, lambda number: print(f"training: {names[words[number]]}", flush=True)
    ):
        folders[words[number]] = folder
    return {key: folders[training.words] for key, training in wanted.items()}


def _policy(grid: CompressionGrid, level: Level, dense: dict[tuple[str, int], Path], logs: str) -> str:
    agent = grid.agents.get(level.agent)
    if agent is None:
        return str(dense[level.agent, level.seed] / "model.zip")
    return agent.file(logs) or str(dense[level.agent, 0] / "model.zip")


def _told(level: Level) -> str:
    share = "" if level.sparsity is None else f", {level.sparsity:.0%} removed"
    how = " while it learns" if level.while_learning else ""
    return f"{level.agent}: {level.method}{share}{how}, seed {level.seed}"


def _compress(words: Sequence[str]) -> Path:
    """Do a run of compress, unless it is finished, and return its folder."""
    from lightning_pz.jobs.compress import compress as do

    with contextlib.redirect_stdout(io.StringIO()):
        return do(*compress.parse_words([*words, "--progress=false"]))[0]


def _curve(grid: CompressionGrid, agent: str, dense: dict[tuple[str, int], Path], logs: str) -> TrainingCurve | None:
    """Return the curve of the training of an agent, if it is known."""
    from sweeps.compression.training_curves import evaluated_curve, logged_curve

    one = grid.agents[agent]
    if one.published is not None:
        record = one.published.find_record(logs)
        return None if record is None else evaluated_curve(record, one.published.learned_in)
    return logged_curve(dense[agent, 0]) if one.train else None


def _draw(
    grid: CompressionGrid, found: dict[Level, Any], curves: dict[str, TrainingCurve | None], folder: Path
) -> list[Path]:
    """Write tables and figures, print the tables, and return the figures."""
    from lightning_pz.common.plotting import save_figure
    from sweeps.compression.compression_figures import agent_figure, learner_figure
    from sweeps.compression.compression_tables import study_tables

    tables = study_tables(grid, found)
    for name, table in tables.items():
        write_text(folder / f"{_TABLES[name]}.csv", table.csv())
        write_text(folder / f"{_TABLES[name]}.md", table.markdown())
    drawn = {name: agent_figure(grid, found, name, curves[name]) for name in grid.agents}
    drawn |= {name: learner_figure(grid, found, name) for name, one in grid.learners.items() if one.sparsities}
    figures = []
    for name, figure in drawn.items():
        place = folder / f"compression_{name.replace(' ', '_')}"
        save_figure(figure, place)
        figures.append(place.with_suffix(".png"))
    print("\n" + "\n\n".join(table.console(3) for table in tables.values()))
    print(f"\n  next: {', '.join(map(str, figures or [folder / 'learned.csv']))}")
    return figures
