"""Settings of a report. Imports nothing heavy, so that a wrong option is refused at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lightning_pz.common.checks import at_least, seeds
from lightning_pz.common.errors import UserError


@dataclass(frozen=True)
class ReportSettings:
    """How runs are compared, and where the report goes.

    Args:
        out: Folder to write; if null report/<env> beside finetune, with a number if a report of other runs lies there.
        evaluation: summary.json files of evaluate, for the best policy in the pool; found beside finetune if empty.
        draws: Draws of areas, for the number of tasks that each algorithm leads.
        seed: Seed of these draws and of permutation tests.
        at: Environment steps after which returns are shown in a table of their own: '[100000, 300000]'.
    """

    out: str | None = None
    evaluation: list[str] = field(default_factory=list)
    draws: int = 2000
    seed: int = 0
    at: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        at_least(1, {"at": min(self.at, default=1)})
        if self.draws < 100:
            raise UserError(
                f"--draws expects at least 100 draws, for fewer give no 95 % interval, but got {self.draws}"
            )
        seeds({"seed": self.seed})
        if self.out is not None and Path(self.out).exists() and not Path(self.out).is_dir():
            raise UserError(f"--out expects a folder, but {self.out} is a file: give another place")
