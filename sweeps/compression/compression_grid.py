"""What the compression study does, as data: agents, levels, and networks that are made small while they learn."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_pz.common.errors import UserError
from lightning_pz.compression.settings import PARTS
from sweeps.compression.published_agent import PublishedAgent
from sweeps.optuna_study.reading import check_distinct, check_filled, check_known, from_plain, read_yaml, whole_numbers


@dataclass(frozen=True)
class Agent:
    """A trained network: one that is trained here, a file, or a file that others published."""

    env: str  # as `--env` of compress takes it
    train: dict[str, Any] = field(default_factory=dict)  # settings of compress, with which it is trained
    policy: str | None = None  # or a file of a policy
    published: PublishedAgent | None = None  # or one of a repository
    compress: dict[str, Any] = field(default_factory=dict)  # settings of compress that differ from the study's

    def __post_init__(self) -> None:
        if bool(self.train) + (self.policy is not None) + (self.published is not None) != 1:
            raise UserError(
                "an agent expects `train`, settings of compress to train it with, or `policy`, a file, or `published`, a "
                "file of a repository: give one"
            )

    def file(self, logs: str) -> str | None:
        """Return the file of a network that is not trained here; `UserError` if it is published and not there."""
        return self.policy if self.published is None else str(self.published.find(logs))


@dataclass(frozen=True)
class SmallLearner:
    """Networks that are made small while they learn, beside dense ones of the same seeds and steps.

    Where weights are pruned, those dense ones are pruned afterwards as well, to the same shares, by distillation.
    """

    env: str
    train: dict[str, Any]
    method: str  # as `--method` of compress takes it
    sparsities: list[float] = field(default_factory=list)  # with prune
    seeds: int = 5

    def __post_init__(self) -> None:
        parts = self.method.split("+")
        if not set(parts) <= set(PARTS):
            raise UserError(f"method: expected parts joined by + such as l0+low_rank or prune, but got {self.method!r}")
        if bool(self.sparsities) != ("prune" in parts):
            raise UserError("sparsities: expected with a method that prunes, and without any other")
        check_distinct("sparsities", self.sparsities)
        whole_numbers({"seeds": self.seeds}, 1)

    @property
    def shares(self) -> list[float | None]:
        """The shares of the weights that go; one None where the method itself finds how many."""
        return [*self.sparsities] or [None]


@dataclass(frozen=True)
class CompressionGrid:
    """The whole study."""

    agents: dict[str, Agent]  # by the names that tables show
    methods: list[str]  # as `--method` of compress takes them
    sparsities: list[float]  # shares of the weights that go
    seeds: int = 3  # of the distillation
    compress: dict[str, Any] = field(default_factory=dict)  # settings of compress, for the distillation
    learners: dict[str, SmallLearner] = field(default_factory=dict)  # by the names that tables show

    def __post_init__(self) -> None:
        check_filled(
            {"agents": {**self.agents, **self.learners}, "methods": self.methods, "sparsities": self.sparsities}
        )
        check_distinct("methods", self.methods)
        check_distinct("sparsities", self.sparsities)
        check_distinct("agents and learners", [*self.agents, *self.learners])
        whole_numbers({"seeds": self.seeds}, 1)
        for method in self.methods:
            if "prune" not in (parts := method.split("+")) or not set(parts) <= set(PARTS):
                raise UserError(
                    f"methods: expected parts with prune among them, such as prune+int8, but got {method!r}"
                )


@dataclass(frozen=True)
class Training:
    """A network that is trained without compression; its `words` are those of compress."""

    name: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Level:
    """One compression: of an agent or a learner, by a method, to a share of the weights, afterwards or while it learns."""

    agent: str
    method: str
    sparsity: float | None
    seed: int
    while_learning: bool = False


def load_compression(path: Path, names: Sequence[str] = ()) -> CompressionGrid:
    """Read the study, all of it or the named agents and learners; a `UserError` names the file and the key of a mistake."""
    grid = from_plain(CompressionGrid, read_yaml(path), f"{path}: the study")
    check_known(str(path), {"agent": (names, [*grid.agents, *grid.learners])})
    agents = {name: one for name, one in grid.agents.items() if not names or name in names}
    learners = {name: one for name, one in grid.learners.items() if not names or name in names}
    return CompressionGrid(agents, grid.methods, grid.sparsities, grid.seeds, grid.compress, learners)


def trainings(grid: CompressionGrid, logs: str) -> dict[tuple[str, int], Training]:
    """Return the networks to train, by agent or learner and seed; one that several ask for has the same words."""
    found = {
        (name, 0): _training(name, one.env, {"seed": 0} | one.train, logs)
        for name, one in grid.agents.items()
        if one.train
    }
    for name, one in grid.learners.items():
        for seed in range(one.seeds):
            found[name, seed] = _training(f"{name}, seed {seed}", one.env, one.train | {"seed": seed}, logs)
    return found


def levels(grid: CompressionGrid) -> Iterator[Level]:
    """Yield all compressions, seed by seed, so that a study that is stopped has a word on every level."""
    for seed in range(max([grid.seeds, *(one.seeds for one in grid.learners.values())])):
        if seed < grid.seeds:
            for agent in grid.agents:
                for method in grid.methods:
                    for sparsity in grid.sparsities:
                        yield Level(agent, method, sparsity, seed)
        for name, one in grid.learners.items():
            if seed < one.seeds:
                for share in one.shares:
                    yield Level(name, one.method, share, seed, while_learning=True)
                    if share is not None:
                        yield Level(name, one.method, share, seed)


def compressing(grid: CompressionGrid, level: Level, dense: str, logs: str) -> list[str]:
    """Return the words of compress for a level, of a file of the dense policy."""
    own: dict[str, Any] = {"method": level.method, "seed": level.seed, "format": "lpz", "logs": logs}
    own |= {} if level.sparsity is None else {"sparsity": level.sparsity}
    if level.while_learning:
        learner = grid.learners[level.agent]
        return ["--env", learner.env, *_words(learner.train | own | {"reference": dense})]
    one = (grid.agents | grid.learners)[level.agent]
    settings = grid.compress | (one.compress if isinstance(one, Agent) else {})
    # Such as the scales of int8, which compress refuses beside a method that only prunes.
    lacking = {*PARTS} - {*level.method.split("+")}
    settings = {name: value for name, value in settings.items() if name.partition(".")[0] not in lacking}
    return ["--env", one.env, *_words(settings | own | {"policy": dense})]


def _training(name: str, env: str, train: dict[str, Any], logs: str) -> Training:
    # The curve of the training is read from the CSV file.
    own = {"method": "none", "logger": "tensorboard,csv", "format": "lpz", "logs": logs}
    return Training(name, ("--env", env, *sorted(_words(train | own))))


def _words(settings: Mapping[str, Any]) -> list[str]:
    return [f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in settings.items()]
