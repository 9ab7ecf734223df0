"""What is left of a trained network's return at every level of compression: `python -m sweeps compression`.

Trains the agents of the file that are not trained yet, without compression, and distills each into every method, share of
weights that go, and seed. All of it are runs of `compress`, in `logs/compress`, which are found again. Leaves `table.csv`,
`table.md` and a figure for each agent in `logs/sweeps/compression`.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_pz import compress
from lightning_pz.common.errors import UserError
from lightning_pz.common.files import write_text
from lightning_pz.compression.settings import PARTS
from sweeps.crew import open_crew
from sweeps.folders import changed_grid, grid_path, tables_folder
from sweeps.options import CompressionOptions
from sweeps.optuna_study.reading import (
    check_distinct,
    check_filled,
    check_known,
    errors_from,
    from_plain,
    read_yaml,
    whole_numbers,
)


@dataclass(frozen=True)
class Agent:
    """A trained network: one that is trained here, or a file."""

    env: str  # as `--env` of compress takes it
    train: dict[str, Any] = field(default_factory=dict)  # settings of compress, with which it is trained
    policy: str | None = None  # or a file of a policy

    def __post_init__(self) -> None:
        if bool(self.train) == (self.policy is not None):
            raise UserError(
                "an agent expects `train`, settings of compress to train it with, or `policy`, a file: give one"
            )


@dataclass(frozen=True)
class CompressionGrid:
    """The whole study."""

    agents: dict[str, Agent]  # by the names that tables show
    methods: list[str]  # as `--method` of compress takes them
    sparsities: list[float]  # shares of the weights that go
    seeds: int = 3  # of the distillation
    compress: dict[str, Any] = field(default_factory=dict)  # settings of compress

    def __post_init__(self) -> None:
        check_filled({"agents": self.agents, "methods": self.methods, "sparsities": self.sparsities})
        check_distinct("methods", self.methods)
        check_distinct("sparsities", self.sparsities)
        whole_numbers({"seeds": self.seeds}, 1)
        for method in self.methods:
            if "prune" not in (parts := method.split("+")) or not set(parts) <= set(PARTS):
                raise UserError(
                    f"methods: expected parts with prune among them, such as prune+int8, but got {method!r}"
                )


@dataclass(frozen=True)
class Level:
    """One run: an agent compressed by a method."""

    agent: str
    method: str
    sparsity: float
    seed: int


def load_compression(path: Path, agents: Sequence[str] = ()) -> CompressionGrid:
    """Read the study, with all agents or the named ones; a `UserError` names the file and the key of a mistake."""
    grid = from_plain(CompressionGrid, read_yaml(path), f"{path}: the study")
    check_known(str(path), {"agent": (agents, grid.agents)})
    chosen = {name: agent for name, agent in grid.agents.items() if not agents or name in agents}
    return CompressionGrid(chosen, grid.methods, grid.sparsities, grid.seeds, grid.compress)


def run(study: str, options: CompressionOptions) -> None:
    """Train and compress what is missing, and draw all of it."""
    path = grid_path(study, options.grid)
    grid = load_compression(path, options.agent)
    for agent in grid.agents.values():  # a mistake in the last one costs no training of the first
        with errors_from(str(path)):
            if agent.policy is None:
                compress.parse_words(_training(agent, options.logs))
            given = {} if agent.policy is None else {"policy": agent.policy}
            for method in grid.methods:
                for sparsity in grid.sparsities:
                    words = _words(grid.compress | given | {"method": method, "sparsity": sparsity})
                    compress.parse_words(["--env", agent.env, "--logs", options.logs, *words])
    folder = tables_folder(options.logs, study, options.agent, changed_grid(study, path))
    from sweeps.compression.compression_tables import agent_figure, compression_table, grid_pages

    with open_crew(options, options.logs) as crew:
        dense: dict[str, Path] = {}
        trainings = [_training(agent, options.logs) for agent in grid.agents.values() if agent.policy is None]
        names = [name for name, agent in grid.agents.items() if agent.policy is None]
        for number, trained in crew.run(
            _compress, trainings, lambda number: print(f"training: {names[number]}", flush=True)
        ):
            dense[names[number]] = trained
        policies = {
            name: Path(agent.policy) if agent.policy is not None else dense[name] / "model.zip"
            for name, agent in grid.agents.items()
        }
        levels = list(_levels(grid))
        commands = [_compressing(grid, level, policies[level.agent], options.logs) for level in levels]
        found: dict[Level, dict[str, Any]] = {}

        def tell(number: int) -> None:
            one = levels[number]
            print(f"{one.agent}: {one.method}, {one.sparsity:.0%} removed, seed {one.seed}", flush=True)

        for number, done in crew.run(_compress, commands, tell):
            found[levels[number]] = json.loads((done / "summary.json").read_text())
    table = compression_table(grid, found)
    write_text(folder / "table.csv", table.csv())
    write_text(folder / "table.md", table.markdown())
    from lightning_pz.common.plotting import save_figure

    figures = []
    for name in grid.agents:
        place = folder / f"compression_{name}"
        save_figure(agent_figure(grid, found, name, dense.get(name)), place)
        figures.append(place.with_suffix(".png"))
    print(f"\n{table.console(3)}\n\n  next: {', '.join(map(str, figures))}\n\n{folder}")
    if options.publish:
        from sweeps.results.publishing import publish_tables

        publish_tables(grid_pages(grid, found, study), figures)


def _levels(grid: CompressionGrid) -> Iterator[Level]:
    """Yield all runs, seed by seed, so that a study that is stopped has a word on every level."""
    for seed in range(grid.seeds):
        for agent in grid.agents:
            for method in grid.methods:
                for sparsity in grid.sparsities:
                    yield Level(agent, method, sparsity, seed)


def _training(agent: Agent, logs: str) -> list[str]:
    # The curve of the training is read from the CSV file.
    own = {"method": "none", "logger": "tensorboard,csv", "format": "lpz", "logs": logs}
    return ["--env", agent.env, *_words(agent.train | own)]


def _compressing(grid: CompressionGrid, level: Level, policy: Path, logs: str) -> list[str]:
    own = {"policy": str(policy), "method": level.method, "sparsity": level.sparsity, "seed": level.seed}
    return ["--env", grid.agents[level.agent].env, *_words(grid.compress | own | {"format": "lpz", "logs": logs})]


def _words(settings: Mapping[str, Any]) -> list[str]:
    return [f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in settings.items()]


def _compress(words: list[str]) -> Path:
    """Do a run of compress, unless it is finished, and return its folder."""
    from lightning_pz.jobs.compress import compress as do

    with contextlib.redirect_stdout(io.StringIO()):
        return do(*compress.parse_words([*words, "--progress=false"]))[0]
