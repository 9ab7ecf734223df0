"""How a grown pool becomes an archive of `ribs`. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_pz.common.checks import at_least, seeds

RIBS_PACKAGES = ("ribs", "seaborn", "shapely")
"""What `ribs` itself and its figures need."""


@dataclass(frozen=True)
class ArchiveSettings:
    """How the policies of a grown pool are sorted into cells.

    Args:
        axes: Outcomes that span the cells, with commas between them: `mean 0,mean 1`, or `all` that vary. The two of greatest
            spread if null.
        task: Task whose return is the objective of the archive; the first of the pool if null.
        cells: Cells of the archive, each of which keeps its best policy.
        seed: Seed of the cells.
    """

    axes: str | None = None
    task: str | None = None
    cells: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(2, {"cells": self.cells})
        seeds({"seed": self.seed})
