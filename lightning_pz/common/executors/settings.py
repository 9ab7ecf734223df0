"""Which engine runs pieces of work, and what it is told. Imports nothing heavy."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from lightning_pz.common.checks import at_least
from lightning_pz.common.errors import UserError, nearest

KINDS = ("local", "dask", "slurm", "ray")
_FORMS = "local, dask, dask:ADDRESS, slurm, slurm:local, ray or ray:ADDRESS"
_MINUTES = {"m": 1, "h": 60, "d": 24 * 60}


@dataclass(frozen=True)
class SlurmSettings:
    """What each job asks of Slurm.

    Args:
        partition: Partition; the cluster's default if null.
        time: Time limit of a job, such as 30m, 4h or 2d; a job that needs longer is queued again and goes on.
        memory: Memory of a job, such as 4GB; the cluster's default if null.
        account: Account that is charged; the user's default if null.
        qos: Quality of service; the cluster's default if null.
        constraint: Features that a node must have, in Slurm's words.
    """

    partition: str | None = None
    time: str = "24h"
    memory: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[1-9]\d*[mhd]", self.time):
            raise UserError(
                f"--slurm.time expects minutes, hours or days, such as 30m, 4h or 2d, but got {self.time!r}"
            )
        if self.memory is not None and not re.fullmatch(r"[1-9]\d*(\.\d+)?GB", self.memory):
            raise UserError(f"--slurm.memory expects gigabytes, such as 4GB, but got {self.memory!r}")

    @property
    def minutes(self) -> int:
        """The time limit in minutes."""
        return int(self.time[:-1]) * _MINUTES[self.time[-1]]

    @property
    def gigabytes(self) -> float | None:
        """The memory in GB, or None for the cluster's default."""
        return None if self.memory is None else float(self.memory.removesuffix("GB"))


@dataclass(frozen=True)
class Engine:
    """Where pieces of work run.

    Args:
        on: `local` processes; `dask` or `dask:ADDRESS` of a scheduler; `slurm`; `ray` or `ray:ADDRESS`, such as `ray:auto`;
            `slurm:local` tries out what `slurm` does in processes of this machine.
        workers: Pieces that run side by side: as many as there are cores if null, on `slurm` all of them; a Dask or Ray
            cluster with an address has workers of its own.
        slurm: What each job asks of Slurm.
    """

    on: str = "local"
    workers: int | None = None
    slurm: SlurmSettings = field(default_factory=SlurmSettings)

    def __post_init__(self) -> None:
        at_least(1, {} if self.workers is None else {"workers": self.workers})
        takes = {"local": ("",), "slurm": ("", "local")}.get(self.kind)
        is_wrong = takes is not None and self.address not in takes
        if self.kind not in KINDS or is_wrong or (self.address == "" and ":" in self.on):
            raise UserError(f"--on expects {_FORMS}, but got {self.on!r}." + nearest(self.kind, KINDS))

    @property
    def kind(self) -> str:
        """The word before the address."""
        return self.on.partition(":")[0]

    @property
    def address(self) -> str:
        """What follows the first colon; empty if the engine is to be started here."""
        return self.on.partition(":")[2]

    @property
    def is_one_machine(self) -> bool:
        """Whether all workers share this machine's memory and file locks."""
        return self.on in ("local", "dask", "slurm:local", "ray")


class ChoosesEngine:
    """Settings that say, among other things, where pieces of work run; they are checked when made."""

    on: str
    workers: int | None
    slurm: SlurmSettings

    def __post_init__(self) -> None:
        Engine(self.on, self.workers, self.slurm)

    @property
    def engine(self) -> Engine:
        """Where pieces of work run."""
        return Engine(self.on, self.workers, self.slurm)
