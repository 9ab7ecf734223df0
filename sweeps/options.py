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
from sweeps.optuna_study.workers import cores

Options = TypeVar("Options")
NO_ENVIRONMENT = "which environment? Give --env with a preset or a Gymnasium id"
POSITIONAL, HIDDEN = {"positional": True}, {"hidden": True}


@dataclass(frozen=True)
class SearchOptions:
    """Options of a study that is a file in `conf/sweep/` and nothing else.

    Args:
        env: Preset or Gymnasium id; the `environments` of the study's file if null.
        policy: Some policy sizes of the study, or other presets, commas between them, such as small,medium; all of
            the study's file if null.
        trials: Trials in all (sampler tpe), or only the first points (sampler grid); as the file says if null.
        workers: Processes that work side by side.
        grid: YAML file to read instead of the shipped conf/sweep/STUDY.yaml.
        storage: URL of a database, such as postgresql://user@host/name or sqlite:///studies.db; a journal file in the
            study's folder if null.
        logs: Folder for pools, runs and studies.
        worker: Process and phase of the command that started this one.
    """

    env: str | None = None
    policy: str | None = None
    trials: int | None = None
    workers: int = min(2, cores())
    grid: str | None = None
    storage: str | None = None
    logs: str = "logs"
    worker: str | None = field(default=None, metadata=HIDDEN)

    def __post_init__(self) -> None:
        at_least(1, {"workers": self.workers} | ({} if self.trials is None else {"trials": self.trials}))
        if self.storage is not None and not re.match(r"[a-z][a-z0-9+]*://", self.storage):
            raise UserError(
                "--storage expects the URL of a database that can be reached, such as postgresql://user@host/name or "
                f"sqlite:///studies.db, but got {self.storage}"
            )


@dataclass(frozen=True)
class RecoveryOptions:
    """Options of `recovery`.

    Args:
        env: Preset or Gymnasium id; required.
        grid: YAML file to read instead of the shipped conf/sweep/STUDY.yaml.
        logs: Folder for pools, runs and studies.
    """

    env: str = ""
    grid: str | None = None
    logs: str = "logs"

    def __post_init__(self) -> None:
        if not self.env:
            raise UserError(NO_ENVIRONMENT)


@dataclass(frozen=True)
class GrowthOptions(RecoveryOptions):
    """Options of `growth`.

    Args:
        variant: Names of some ways to make pools, in the words of the file; all of them if none is given.
    """

    variant: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class CompareOptions:
    """Options of `compare` and `grown`.

    Args:
        env: Some environments of the file; all of them if none is given.
        algorithm: Some algorithms of the file; all of them if none is given.
        grid: YAML file to read instead of the shipped conf/sweep/STUDY.yaml.
        logs: Folder for pools, runs and studies.
    """

    env: list[str] = field(default_factory=list)
    algorithm: list[str] = field(default_factory=list)
    grid: str | None = None
    logs: str = "logs"


@dataclass(frozen=True)
class ManifoldOptions:
    """Options of `manifolds`.

    Args:
        points: Points of a cloud, at least 110.
        clouds: Independent clouds to average over.
        seed: Seed of clouds and noise.
        logs: Folder for pools, runs and studies.
    """

    points: int = 2000
    clouds: int = 5
    seed: int = 0
    logs: str = "logs"

    def __post_init__(self) -> None:
        at_least(110, {"points": self.points})
        at_least(1, {"clouds": self.clouds})
        at_least(0, {"seed": self.seed})


@dataclass(frozen=True)
class CoverageOptions:
    """Options of `coverage`.

    Args:
        trials: Samples of each kind, at least 100.
        seed: Seed of the samples.
        logs: Folder for pools, runs and studies.
    """

    trials: int = 2000
    seed: int = 0
    logs: str = "logs"

    def __post_init__(self) -> None:
        at_least(100, {"trials": self.trials})
        at_least(0, {"seed": self.seed})


@dataclass(frozen=True)
class ResultsOptions:
    """Options of `results`, of which there are none."""


@dataclass(frozen=True)
class ProbeOptions:
    """Options of `probe`.

    Args:
        runs: Run folders of fits; one that has a probes.json is left alone.
    """

    runs: list[str] = field(default_factory=list, metadata=POSITIONAL)


@dataclass(frozen=True)
class ReportOptions:
    """Options of `report`.

    Args:
        studies: Names of studies, drawn together.
        env: Preset or Gymnasium id; all environments of the studies if null.
        tau: Largest FVU at which a latent size counts as enough, between 0 and 1.
        gain: FVU per latent number below which another one does not pay, between 0 and 1.
        tolerance: How far below 1 a recovery may be, between 0 and 1.
        draws: Bootstrap draws, at least 100.
        seed: Seed of the bootstrap.
        logs: Folder that holds the studies.
    """

    studies: list[str] = field(default_factory=list, metadata=POSITIONAL)
    env: str | None = None
    tau: float = 0.1
    gain: float = 0.01
    tolerance: float = 0.05
    draws: int = 1000
    seed: int = 0
    logs: str = "logs"

    def __post_init__(self) -> None:
        for name in ("tau", "gain", "tolerance"):
            if not 0 < getattr(self, name) < 1:
                raise UserError(f"--{name} expects a number between 0 and 1, but got {getattr(self, name)}")
        at_least(100, {"draws": self.draws})
        at_least(0, {"seed": self.seed})


def read_options(study: str, kind: type[Options], arguments: Sequence[str], description: str) -> Options:
    """Return the options of a study from its command line; `--help` prints them and exits with 0.

    Args:
        study: Name of the study.
        kind: The dataclass of its options.
        arguments: Words of the command line after the study's name.
        description: What the study does.

    Raises:
        UserError: An option that the study does not have, or a value that it cannot take.
    """
    from docstring_parser import parse

    from lightning_pz.common.command_line import CommandParser, pick

    parser = CommandParser(description=description)
    parser.prog = f"python -m sweeps {study}"
    documented = [one for base in kind.__mro__ for one in parse(base.__doc__ or "").params]
    helps = {one.arg_name: one.description for one in documented}
    types = typing.get_type_hints(kind)
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    for one in sorted(fields, key=lambda one: one.name in ("grid", "storage", "logs")):  # help shows these last
        text = argparse.SUPPRESS if "hidden" in one.metadata else helps[one.name]
        if "positional" in one.metadata:
            parser.add_argument(one.name, nargs="+", type=str, help=text)
        elif types[one.name] == list[str]:  # several words, or the option several times
            parser.add_argument(
                f"--{one.name}", nargs="+", action="extend", type=str, default=[], metavar="NAME ...", help=text
            )
        else:
            parser.add_argument(f"--{one.name}", type=types[one.name], default=one.default, help=text)
    return pick(kind, parser.parse_args(list(arguments)))


def words_of(options: Any) -> list[str]:
    """Return options as the command line that gives them, without those that keep their default."""
    values = {one.name: (getattr(options, one.name), one.default) for one in dataclasses.fields(options)}
    return [f"--{name}={value}" for name, (value, default) in values.items() if value != default]
