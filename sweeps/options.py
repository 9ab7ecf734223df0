"""The options of every study, one dataclass a kind, and the reader that makes them from a command line.

Imports nothing heavy.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from lightning_pz.common.checks import at_least
from lightning_pz.common.errors import UserError, nearest
from sweeps.optuna_study.workers import cores

Options = TypeVar("Options")
SEVERAL, POSITIONAL, HIDDEN = ({"several": True}, {"positional": True}, {"hidden": True})
NO_ENVIRONMENT = "which environment? Give --env with a preset or a Gymnasium id"


@dataclass(frozen=True)
class SearchOptions:
    """Options of a study that is a file in `conf/sweep/` and nothing else.

    Args:
        env: Preset or Gymnasium id; the `environments` of the study's file if null.
        policy: Some policy sizes of the study, or other presets, commas between them, such as small,medium; all of
            the study's file if null.
        logs: Folder for pools, runs and studies.
        grid: YAML file to read instead of the shipped conf/sweep/STUDY.yaml.
        storage: URL of a database, such as postgresql://user@host/name or sqlite:///studies.db; a journal file in the
            study's folder if null.
        trials: Trials in all (sampler tpe), or only the first points (sampler grid); as the file says if null.
        workers: Processes that work side by side.
        worker: Process and phase of the command that started this one.
    """

    env: str | None = None
    policy: str | None = None
    logs: str = "logs"
    grid: str | None = None
    storage: str | None = None
    trials: int | None = None
    workers: int = min(2, cores())
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
        grid: YAML file to read instead of the shipped conf/sweep/recovery.yaml.
        logs: Folder for pools, runs and studies.
    """

    env: str | None = None
    grid: str | None = None
    logs: str = "logs"


@dataclass(frozen=True)
class GrowthOptions:
    """Options of `growth`.

    Args:
        env: Preset or Gymnasium id; required.
        variant: Names of some ways to make pools, in the words of the file; all of them if none is given.
        grid: YAML file to read instead of the shipped conf/sweep/growth.yaml.
        logs: Folder for pools, runs and studies.
    """

    env: str | None = None
    variant: list[str] = field(default_factory=list, metadata=SEVERAL)
    grid: str | None = None
    logs: str = "logs"


@dataclass(frozen=True)
class CompareOptions:
    """Options of `compare` and `grown`.

    Args:
        env: Some environments of the file; all of them if none is given.
        algorithm: Some algorithms of the file; all of them if none is given.
        grid: YAML file to read instead of the shipped conf/sweep/STUDY.yaml.
        logs: Folder for pools, runs and studies.
    """

    env: list[str] = field(default_factory=list, metadata=SEVERAL)
    algorithm: list[str] = field(default_factory=list, metadata=SEVERAL)
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
        logs: Folder that holds the studies.
        tau: Largest FVU at which a latent size counts as enough, between 0 and 1.
        gain: FVU per latent number below which another one does not pay, between 0 and 1.
        tolerance: How far below 1 a recovery may be, between 0 and 1.
        draws: Bootstrap draws, at least 100.
        seed: Seed of the bootstrap.
    """

    studies: list[str] = field(default_factory=list, metadata=POSITIONAL)
    env: str | None = None
    logs: str = "logs"
    tau: float = 0.1
    gain: float = 0.01
    tolerance: float = 0.05
    draws: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("tau", "gain", "tolerance"):
            if not 0 < getattr(self, name) < 1:
                raise UserError(f"--{name} expects a number between 0 and 1, but got {getattr(self, name)}")
        at_least(100, {"draws": self.draws})
        at_least(0, {"seed": self.seed})


def read_options(study: str, kind: type[Options], arguments: Sequence[str], description: str) -> Options:
    """Return the options of a study as the command line gives them; `--help` prints them and exits with 0.

    Args:
        study: Name of the study.
        kind: The dataclass of its options.
        arguments: What comes after the study's name on the command line.
        description: What the study does.

    Raises:
        UserError: An option that the study does not have, or a value that it cannot take.
    """
    from docstring_parser import parse
    from jsonargparse import ArgumentParser

    fields = {one.name: one for one in dataclasses.fields(kind)}  # type: ignore[arg-type]
    helps = {one.arg_name: " ".join((one.description or "").split()) for one in parse(kind.__doc__ or "").params}
    parser = ArgumentParser(
        prog=f"python -m sweeps {study}", description=description, exit_on_error=False, allow_abbrev=False
    )
    for name, one in fields.items():
        if "positional" in one.metadata:
            parser.add_argument(name, nargs="+", type=str, help=helps[name])
        elif "several" in one.metadata:
            parser.add_argument(f"--{name}", nargs="+", action="extend", type=str, default=[], help=helps[name])
        elif "hidden" in one.metadata:
            parser.add_argument(f"--{name}", type=str | None, default=None, help=argparse.SUPPRESS)
    parser.add_class_arguments(kind, skip={name for name, one in fields.items() if one.metadata})
    try:
        given = parser.parse_args(list(arguments))
    except argparse.ArgumentError as error:
        raise UserError(_sentence(study, kind, error)) from error
    return kind(**{name: given[name] for name in fields})


def words_of(options: Any) -> list[str]:
    """Return options as the command line that gives them, without those that keep their default."""
    values = {one.name: (getattr(options, one.name), one.default) for one in dataclasses.fields(options)}
    return [f"--{name}={value}" for name, (value, default) in values.items() if value != default]


def _sentence(study: str, kind: type, error: argparse.ArgumentError) -> str:
    """Return what jsonargparse says of a command line as a sentence with the flag and what it expects."""
    text = " ".join(str(error).split())
    types = {one.name: str(one.type) for one in dataclasses.fields(kind)}
    shown = [one for one in dataclasses.fields(kind) if not {"positional", "hidden"} & set(one.metadata)]
    flags = [f"--{one.name}" for one in shown]
    if found := re.match(r'Parser key "(\w+)".*(?:Given value|Got value): (.*)$', text):
        name, value = found.groups()
        words = {"int": "a whole number", "float": "a number"}.get(types[name].removesuffix(" | None"), "a word")
        return f"--{name} expects {words}, but got {value!r}"
    if found := re.match(r"unrecognized arguments: (.+)", text):
        takes = f"python -m sweeps {study} takes {', '.join(flags) or 'no options'}, but got {found.group(1)}."
        return takes + nearest(found.group(1).split("=")[0].split(" ")[0], flags)
    if found := re.match(r"argument --(\w+): expected", text):
        return f"--{found.group(1)} expects a value, but nothing came after it"
    if found := re.match(r"the following arguments are required: (\w+)", text):
        return f"python -m sweeps {study} expects at least one of its {found.group(1)}, but got none"
    return f"python -m sweeps {study}: {text}"
