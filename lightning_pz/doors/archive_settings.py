"""How a grown pool becomes an archive of `ribs`. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_pz.common.checks import seeds
from lightning_pz.common.errors import UserError

RIBS_PACKAGES = ("ribs", "seaborn", "shapely")
"""What `ribs` itself and its figures need."""
_MOST_CELLS = 20_000


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
        if not 2 <= self.cells <= _MOST_CELLS:
            raise UserError(
                f"--cells expects 2 to {_MOST_CELLS}, for more would take hours to find, but got {self.cells}"
            )
        seeds({"seed": self.seed})
