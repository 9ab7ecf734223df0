"""Which engine runs pieces of work, and what it is told. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field

from lightning_pz.common.checks import at_least
from lightning_pz.common.errors import UserError, nearest

KINDS = ("local", "dask", "slurm", "ray")


@dataclass(frozen=True)
class SlurmSettings:
    """What each job asks of Slurm.

    Args:
        partition: Partition; the cluster's default if null.
        time: Time limit of a job, such as 30m, 4h or 2d.
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


@dataclass(frozen=True)
class Engine:
    """Where pieces of work run.

    Args:
        on: `local` processes; `dask` or `dask:ADDRESS` of a scheduler; `slurm`; `ray` or `ray:ADDRESS`, such as `ray:auto`.
        workers: Pieces that run side by side; as many as there are cores if null.
        slurm: What each job asks of Slurm.
    """

    on: str = "local"
    workers: int | None = None
    slurm: SlurmSettings = field(default_factory=SlurmSettings)

    def __post_init__(self) -> None:
        at_least(1, {} if self.workers is None else {"workers": self.workers})
        if self.kind not in KINDS or (self.address == "" and ":" in self.on):
            raise UserError(
                f"--on expects local, dask, dask:ADDRESS, slurm, ray or ray:ADDRESS, but got {self.on!r}."
                + nearest(self.kind, KINDS)
            )

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
        return self.kind != "slurm" and not self.address
