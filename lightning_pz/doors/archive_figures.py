"""Heat maps of archives, drawn by `ribs` in the look of all figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from lightning_pz.common.files import safe_name
from lightning_pz.common.plotting import save_figure, single

_LINES_BELOW = 2000
"""Cells from which lines between them would leave no color."""


def heat_map(archive: Any, labels: Sequence[str], title: str) -> Figure:
    """Draw the return of each cell's best policy over one or two named axes; cells without a policy stay white."""
    from ribs.visualize import cvt_archive_heatmap

    flat = len(labels) == 1
    figure, axes = single(width=5.6, height=2.2 if flat else 4.2)
    kwargs = {"label": "return of the cell's best policy"} | ({"location": "top", "aspect": 40} if flat else {})
    cvt_archive_heatmap(
        archive, axes, cmap="viridis", aspect="auto", lw=0.2 if archive.cells < _LINES_BELOW else 0, ec="0.7",
        cbar_kwargs=kwargs,
    )  # fmt: skip
    axes.set_xlabel(labels[0])
    if flat:
        axes.set_yticks([])
    else:
        axes.set_ylabel(labels[1])
    figure.suptitle(title, fontsize=10)
    return figure


def save_heat_map(figure: Figure, folder: Path, task: str) -> None:
    """Write a task's heat map into the figures of an archive's folder."""
    save_figure(figure, folder / "figures" / f"heat_map-{safe_name(task)}")
