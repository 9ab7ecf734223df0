"""The file of the few-episode study: environments with their pools, contenders, and who runs where for how long."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from lightning_pz.common.checks import one_of
from lightning_pz.envs.presets import merge
from lightning_pz.search.settings import AnswersBy
from sweeps.fits import Fit, seeded_fits
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
class PoolFits:
    """Fits of one environment on pools of one kind; the searches of seed s begin from the fit with seed s mod `seeds`."""

    run: str  # name of the fits, without the seed at the end
    seeds: int = 5  # how many there are
    fit: dict[str, Any] = field(default_factory=dict)  # settings of `fit`; `{seed}` stands for the seed

    def __post_init__(self) -> None:
        whole_numbers({"seeds": self.seeds}, 1)


_OF_RIVALS = PoolFits(
    "rivals", 1,
    {
        "model.latent_dim": 1, "data.recipe": "random", "data.random.candidates": 64, "data.random.keep": 0.5,
        "probes.enabled": False, "data.steps_per_epoch": 20, "trainer.max_steps": 20,
    },
)  # fmt: skip


@dataclass(frozen=True)
class FewEnv:
    """One environment."""

    tasks: list[str]
    pools: dict[str, PoolFits]  # by kind: grown, random
    policy: str = "medium"  # preset of the policies' size
    area: int = 20  # episodes over which areas are taken
    paper: bool = False  # whether its tasks are of the published comparison

    def __post_init__(self) -> None:
        check_filled({"tasks": self.tasks, "pools": self.pools})
        check_distinct("tasks", self.tasks)
        whole_numbers({"area": self.area}, 1)


@dataclass(frozen=True)
class TaskPart:
    """Some tasks of an environment that a contender runs, with settings over its own; all tasks if none is named."""

    env: str
    seeds: int
    tasks: list[str] = field(default_factory=list)
    finetune: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        whole_numbers({"seeds": self.seeds}, 1)


RIVALS = ("rival", "default")
"""Kinds of contenders that begin from scratch, over all of which a lead counts."""


@dataclass(frozen=True)
class Contender:
    """One way to solve a task, under the name that tables show."""

    # `rival`: from scratch with tuned settings; `default`: with those of its library; `part`: one of ours without one of its
    # parts, or a rival with one of them, which takes part in no verdict
    kind: Literal["ours", "rival", "default", "part"]
    finetune: dict[str, Any]  # its settings
    parts: list[TaskPart]
    pool: str = "grown"  # kind of pool whose decoder it searches; a rival reads no pool


@dataclass(frozen=True)
class FewGrid:
    """The whole study."""

    environments: dict[str, FewEnv]  # by preset or Gymnasium id
    contenders: dict[str, Contender]  # in the order of tables
    finetune: dict[str, Any]  # settings of all
    name: str = "few"  # with which the names of its tables and figures begin
    decisive: list[int] = field(default_factory=lambda: [5, 20])  # counts at which each of ours is counted alone

    def __post_init__(self) -> None:
        check_filled({"environments": self.environments, "contenders": self.contenders})
        check_distinct("decisive", self.decisive)
        one_of("answers_by", self.by, get_args(AnswersBy))
        for name, contender in self.contenders.items():
            for part in contender.parts:
                with errors_from(name):
                    one_of("env", part.env, tuple(self.environments))
                    one_of("pool", contender.pool, tuple(self.environments[part.env].pools))
                    for task in part.tasks:
                        one_of("tasks", task, tuple(self.environments[part.env].tasks))

    @property
    def by(self) -> AnswersBy:
        """What the counts of the study are of."""
        return self.finetune.get("answers_by", "episodes")

    @property
    def has_claim(self) -> bool:
        """Whether it has tasks of the published comparison."""
        return any(env.paper for env in self.environments.values())

    @property
    def at(self) -> list[int]:
        """The counts of the study, rising."""
        counts = [settings.get("answers_at", []) for settings in self._every_settings()]
        return sorted({count for each in counts for count in each})

    def cells(self) -> Iterator[Cell]:
        """Yield every run, one contender after another."""
        for name, contender in self.contenders.items():
            for part in contender.parts:
                env = self.environments[part.env]
                settings = merge(merge(self.finetune, contender.finetune), part.finetune)
                for seed in range(part.seeds):
                    for task in part.tasks or env.tasks:
                        yield Cell(name, contender, part.env, env, task, seed, settings)

    def _every_settings(self) -> list[dict[str, Any]]:
        own = [merge(self.finetune, one.finetune) for one in self.contenders.values()]
        parts = [part.finetune for one in self.contenders.values() for part in one.parts]
        return [*own, *parts]


@dataclass(frozen=True)
class Cell:
    """One run: a contender on a task with a seed."""

    name: str
    contender: Contender
    env: str
    where: FewEnv
    task: str
    seed: int
    settings: dict[str, Any]

    @property
    def reads_pool(self) -> bool:
        """Whether the fit from which it begins decides anything."""
        return self.contender.kind in ("ours", "part")

    def fit(self, logs: str) -> Fit:
        """Return the fit from which it begins; a rival needs one for its environment alone, and has one of seconds."""
        pool = self.where.pools[self.contender.pool] if self.reads_pool else _OF_RIVALS
        return seeded_fits(pool.run, self.env, self.where.policy, pool.fit, logs, [self.seed % pool.seeds])[0]

    def command(self, logs: str, checkpoint: Path) -> list[str]:
        """Return the command line of the run."""
        own = {"task": self.task, "seed": self.seed, "seeds": 1, "workers": 1, "logs": logs, "checkpoint": checkpoint}
        return [f"--{key}={value}" for key, value in (self.settings | own).items()]


def load_few_episodes(path: Path) -> FewGrid:
    """Read the whole study; a `UserError` names the file and the key of a mistake."""
    return from_plain(FewGrid, read_yaml(path), f"{path}: the study")


def part_of(whole: FewGrid, path: Path, environments: Sequence[str], contenders: Sequence[str]) -> FewGrid:
    """Return the named part of a study, all of it where nothing is named; `UserError` for a name that its file has not."""
    check_known(str(path), {"env": (environments, whole.environments), "contender": (contenders, whole.contenders)})
    chosen = {}
    for name, contender in whole.contenders.items():
        parts = [part for part in contender.parts if not environments or part.env in environments]
        if parts and (not contenders or name in contenders):
            chosen[name] = dataclasses.replace(contender, parts=parts)
    return dataclasses.replace(whole, contenders=chosen)
