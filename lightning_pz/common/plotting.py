"""The look of every figure: palette, axes, legends, files. No window is opened, and no figure needs to be closed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_pz.common.files import replacing

# Okabe and Ito's palette, distinct for every kind of color vision, with four more; line styles differ too, for print.
BLUE, ORANGE, GREEN, RED, GRAY, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#666666", "#56B4E9"
PURPLE, BROWN, OLIVE, BLACK = "#AA4499", "#7A3B10", "#8A8A00", "#000000"
_DASHED, _DASH_DOT, _DOTTED = (0, (6, 1.5)), (0, (6, 1.5, 1, 1.5)), (0, (1, 1.2))


class Look(NamedTuple):
    """How one of several things in a figure is drawn."""

    color: str
    line: Any
    marker: str


# Looks that stay distinct in gray print.
LOOKS = (
    Look(BLUE, "-", "o"), Look(ORANGE, _DASHED, "s"), Look(GREEN, _DASH_DOT, "D"), Look(RED, (0, (3, 1.2)), "^"),
    Look(PURPLE, (0, (8, 2, 1, 2, 1, 2)), "v"), Look(SKY, (0, (10, 3)), "P"), Look(GRAY, _DOTTED, "*"),
    Look(BROWN, (0, (3, 1.2, 1, 1.2, 1, 1.2)), "X"), Look(BLACK, (0, (1, 3)), "<"), Look(OLIVE, "-", ">"),
)  # fmt: skip


def look(place: int) -> Look:
    """Return the look of the thing at a place, from 0; after ten, colors and lines repeat with other markers."""
    lap = place // len(LOOKS)
    return LOOKS[place % len(LOOKS)]._replace(marker=LOOKS[(place + lap) % len(LOOKS)].marker)


def panels(
    rows: int = 1, columns: int = 1, *, width: float = 5.0, height: float = 3.6, ratios: tuple[float, ...] | None = None
) -> tuple[Figure, np.ndarray]:
    """Return a figure, sized in inches, and its axes, (rows, columns), without frames at the top and on the right."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, width_ratios=ratios)
    for one in axes.flat:
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes


def single(*, width: float = 5.0, height: float = 3.6) -> tuple[Figure, Axes]:
    """Return a figure with one pair of axes; see `panels`."""
    figure, axes = panels(width=width, height=height)
    return figure, axes[0, 0]


def legend(owner: Axes | Figure, *args: Any, **more: Any) -> None:
    """Draw a legend without a frame, in small letters; arguments are those of matplotlib's `legend`."""
    owner.legend(*args, **({"frameon": False, "fontsize": 8, "title_fontsize": 8} | more))


def save_figure(figure: Figure, stem: Path, kinds: tuple[str, ...] = ("png",), dpi: int = 150) -> None:
    """Write a figure to a path without suffix, as `png` or `pdf`, whole or not at all; equal figures are equal files."""
    for kind in kinds:
        with replacing(stem.with_name(f"{stem.name}.{kind}")) as temporary:
            temporary.write_bytes(drawn(figure, kind, dpi))


def drawn(figure: Figure, kind: str = "png", dpi: int = 150) -> bytes:
    """Return the content of the file that `save_figure` writes; drawing takes longer than anything else of a small run."""
    content = io.BytesIO()
    metadata = {"CreationDate": None} if kind == "pdf" else None
    figure.savefig(content, format=kind, dpi=dpi, bbox_inches="tight", metadata=metadata)
    return content.getvalue()
