"""The options of every study, one dataclass a kind, and the reader that makes them from a command line.

Imports nothing heavy.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from lightning_pz.common.checks import at_least
from lightning_pz.common.errors import UserError
from lightning_pz.common.executors.settings import ChoosesEngine, SlurmSettings
from lightning_pz.common.processes import available_cores

Options = TypeVar("Options")
NO_ENVIRONMENT = "which environment? Give --env with a preset or a Gymnasium id"
URL_EXPECTED = (
    "--storage expects the URL of a database that can be reached, such as postgresql://user@host/name or "
    "sqlite:///studies.db, or of Optuna's gRPC proxy, grpc://host:port, but got "
)
_GRID = "YAML file to read instead of the shipped conf/sweep/STUDY.yaml."
_LOGS = "Folder for pools, runs and studies, on a file system that all workers share."
_ON = (
    "Where work is done: `local` processes; `dask` or `dask:ADDRESS` of a scheduler; `slurm`; `ray` or `ray:ADDRESS`, such as "
    "`ray:auto`; `slurm:local` tries out what `slurm` does on this machine."
)
_LAST = ("workers", "on", "slurm", "grid", "storage", "logs")
"""Options that a help shows last."""
_SLURM = "What each job asks of Slurm."


def _option(default: Any, text: str, *, positional: bool = False) -> Any:
    """Return a field with its help; the default `list` is a new empty list."""
    about = {"help": text, "positional": positional}
    return field(default_factory=list, metadata=about) if default is list else field(default=default, metadata=about)


@dataclass(frozen=True)
class EngineOptions(ChoosesEngine):
    """Options of studies whose parts may be done side by side, on one machine or many."""

    workers: int | None = _option(
        None,
        "Parts of the study that are done side by side, each with one thread; null with `--on local`: one after another, with "
        "all threads, in this process.",
    )
    on: str = _option("local", _ON)
    slurm: SlurmSettings = _option(SlurmSettings(), _SLURM)  # noqa: RUF009  frozen

    @property
    def is_plain(self) -> bool:
        """Whether nothing was asked for."""
        return self.on == "local" and self.workers is None


@dataclass(frozen=True)
class SearchOptions(ChoosesEngine):
    """Options of a study that is a file in `conf/sweep/` and nothing else."""

    env: str | None = _option(None, "Preset or Gymnasium id; the `environments` of the study's file if null.")
    policy: str | None = _option(
        None,
        "Some policy sizes of the study, or other presets, commas between them, such as small,medium; all of the study's "
        "file if null.",
    )
    trials: int | None = _option(
        None, "Trials in all (sampler tpe), or only the first points (sampler grid); as the file says if null."
    )
    workers: int = _option(min(2, available_cores()), "Processes that work side by side.")
    on: str = _option("local", _ON)
    slurm: SlurmSettings = _option(SlurmSettings(), _SLURM)  # noqa: RUF009  frozen
    grid: str | None = _option(None, _GRID)
    storage: str | None = _option(
        None,
        "URL of a database, such as postgresql://user@host/name or sqlite:///studies.db, or of Optuna's gRPC proxy, such as "
        "grpc://host:13000; a journal file in the study's folder if null.",
    )
    logs: str = _option("logs", _LOGS)
    worker: str | None = _option(None, argparse.SUPPRESS)  # process and phase of the command that started this one

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, {} if self.trials is None else {"trials": self.trials})
        if self.storage is not None and not re.match(r"[a-z][a-z0-9+]*://", self.storage):
            raise UserError(URL_EXPECTED + self.storage)
        if self.storage is not None and self.storage.startswith("grpc:"):
            proxy_address(self.storage)
        is_file = self.storage is None or self.storage.startswith("sqlite")
        if is_file and not self.engine.is_one_machine:
            kept = "a journal file" if self.storage is None else "an SQLite file"
            raise UserError(
                f"--on {self.on} may work on several machines, but {kept} is for one, for locks on a network file system are "
                "not sure: give --storage postgresql://user@host/name, or --storage grpc://host:port of Optuna's proxy"
            )


def proxy_address(url: str) -> tuple[str, int]:
    """Return host and port of a URL grpc://host:port; `UserError` if it is none."""
    found = re.fullmatch(r"grpc://\[?([^/\[\]]+)\]?:(\d{1,5})/?", url)
    if found is None or not 0 < int(found[2]) < 65536:
        raise UserError(
            f"--storage expects grpc://host:port for Optuna's gRPC proxy, such as grpc://head:13000, but got {url}"
        )
    return found[1], int(found[2])


@dataclass(frozen=True)
class RecoveryOptions(EngineOptions):
    """Options of `recovery`."""

    env: str = _option("", "Preset or Gymnasium id; required.")
    grid: str | None = _option(None, _GRID)
    logs: str = _option("logs", _LOGS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.env:
            raise UserError(NO_ENVIRONMENT)


@dataclass(frozen=True)
class GrowthOptions(RecoveryOptions):
    """Options of `growth`."""

    variant: Sequence[str] = _option(
        list, "Names of some ways to make pools, in the words of the file; all of them if none is given."
    )


@dataclass(frozen=True)
class CompareOptions(EngineOptions):
    """Options of `compare` and `grown`."""

    env: Sequence[str] = _option(list, "Some environments of the file; all of them if none is given.")
    algorithm: Sequence[str] = _option(list, "Some algorithms of the file; all of them if none is given.")
    grid: str | None = _option(None, _GRID)
    logs: str = _option("logs", _LOGS)


@dataclass(frozen=True)
class CompressionOptions(EngineOptions):
    """Options of `compression`."""

    agent: Sequence[str] = _option(list, "Some agents of the file, in its words; all of them if none is given.")
    grid: str | None = _option(None, _GRID)
    logs: str = _option("logs", _LOGS)
    publish: bool = _option(False, "Whether to write the table and figures of the results page.")


@dataclass(frozen=True)
class FewEpisodesOptions(EngineOptions):
    """Options of `few_episodes`, `reuse` and `pretraining`."""

    env: Sequence[str] = _option(list, "Some environments of the file; all of them if none is given.")
    contender: Sequence[str] = _option(list, "Some contenders of the file, in its words; all of them if none is given.")
    show: bool = _option(False, "Whether to draw what is finished, without running what is missing.")
    grid: str | None = _option(None, _GRID)
    logs: str = _option("logs", _LOGS)
    publish: bool = _option(
        False, "Whether to write the tables and figures of the results page, and the rows that come with the package."
    )


@dataclass(frozen=True)
class AfterthoughtOptions:
    """Options of `afterthought`."""

    pool: Sequence[str] = _option(list, "Folders of grown pools; required.")
    task: Sequence[str] = _option(
        list, "Tasks, names or mypackage.module:function; the ten of the study, for HalfCheetah, if none is given."
    )
    logs: str = _option("logs", _LOGS)

    def __post_init__(self) -> None:
        if not self.pool:
            raise UserError("which pools? Give --pool with folders of grown pools, such as logs/pools/NAME")


@dataclass(frozen=True)
class ManifoldOptions:
    """Options of `manifolds`."""

    points: int = _option(2000, "Points of a cloud, at least 110.")
    clouds: int = _option(5, "Independent clouds to average over.")
    seed: int = _option(0, "Seed of clouds and noise.")
    logs: str = _option("logs", _LOGS)

    def __post_init__(self) -> None:
        at_least(110, {"points": self.points})
        at_least(1, {"clouds": self.clouds})
        at_least(0, {"seed": self.seed})


@dataclass(frozen=True)
class CoverageOptions:
    """Options of `coverage`."""

    trials: int = _option(2000, "Samples of each kind, at least 100.")
    seed: int = _option(0, "Seed of the samples.")
    logs: str = _option("logs", _LOGS)

    def __post_init__(self) -> None:
        at_least(100, {"trials": self.trials})
        at_least(0, {"seed": self.seed})


@dataclass(frozen=True)
class ExchangeOptions:
    """Options of `exchange`."""

    env: str = _option("halfcheetah", "Preset or Gymnasium id.")
    policy: str = _option("medium", "Preset of the policy's size.")
    first: int = _option(1024, "Random policies with which the growth begins.")
    generations: int = _option(20, "Generations of the round.")
    horizon: int = _option(300, "Steps of an episode, at most.")
    points: int = _option(20_000, "Points whose nearest neighbors are timed, for the plan.")
    seed: int = _option(0, "Seed of the growth.")
    logs: str = _option("logs", _LOGS)

    def __post_init__(self) -> None:
        at_least(1, {"generations": self.generations, "horizon": self.horizon, "points": self.points})
        at_least(0, {"seed": self.seed})


@dataclass(frozen=True)
class ResultsOptions:
    """Options of `results`, of which there are none."""


@dataclass(frozen=True)
class ProbeOptions:
    """Options of `probe`."""

    runs: Sequence[str] = _option(
        list, "Run folders of fits; one that has a probes.json is left alone.", positional=True
    )


@dataclass(frozen=True)
class ReportOptions:
    """Options of `report`."""

    studies: Sequence[str] = _option(list, "Names of studies, drawn together.", positional=True)
    env: str | None = _option(None, "Preset or Gymnasium id; all environments of the studies if null.")
    tau: float = _option(0.1, "Largest FVU at which a latent size counts as enough, between 0 and 1.")
    gain: float = _option(0.01, "FVU per latent number below which another one does not pay, between 0 and 1.")
    tolerance: float = _option(0.05, "How far below 1 a recovery may be, between 0 and 1.")
    draws: int = _option(1000, "Bootstrap draws, at least 100.")
    seed: int = _option(0, "Seed of the bootstrap.")
    logs: str = _option("logs", "Folder that holds the studies.")

    def __post_init__(self) -> None:
        for name in ("tau", "gain", "tolerance"):
            if not 0 < getattr(self, name) < 1:
                raise UserError(f"--{name} expects a number between 0 and 1, but got {getattr(self, name)}")
        at_least(100, {"draws": self.draws})
        at_least(0, {"seed": self.seed})


def read_options(study: str, kind: type[Options], arguments: Sequence[str], description: str) -> Options:
    """Return the options of a study from the words after its name; `--help` prints them and exits with 0."""
    from lightning_pz.common.command_line import CommandParser, pick

    parser = CommandParser(command=study, description=description)
    parser.prog = f"python -m sweeps {study}"
    types = typing.get_type_hints(kind)
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    for one in sorted(fields, key=lambda one: one.name in _LAST):  # help shows these last
        about: dict[str, Any] = {"type": types[one.name], "default": one.default}
        if one.metadata["positional"]:
            about = {"type": str, "nargs": "+"}
        elif types[one.name] == Sequence[str]:  # several words, or the option several times
            about = {"type": str, "nargs": "+", "default": [], "action": "extend", "metavar": "NAME ..."}
        name = one.name if one.metadata["positional"] else f"--{one.name}"
        parser.add_argument(name, help=one.metadata["help"], **about)
    return pick(kind, parser.instantiate(parser.parse_args(list(arguments))))


def words_of(options: Any) -> list[str]:
    """Return options as the command line that gives them, without those that keep their default."""
    values = {one.name: (getattr(options, one.name), one.default) for one in dataclasses.fields(options)}
    return [f"--{name}={value}" for name, (value, default) in values.items() if value != default]
