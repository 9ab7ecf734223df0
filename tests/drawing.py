"""Draws the first figures of each kind; later ones become a gray square, as drawing takes half the time of a small run.

A test with `pytest.mark.draws` draws all of its figures.
"""

import contextlib
import functools
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imsave

WHOLE = 2
"""Figures of a kind that a worker draws."""

_PACKAGES = tuple(str(Path(__file__).parents[1] / name) for name in ("lightning_pz", "sweeps"))
_PASSED_ON = ("plotting.py", "tracker.py")  # they draw what others made
_GRAY = np.full((8, 8, 3), 0.5)
_counts: Counter[tuple[object, ...]] = Counter()
_draw_all = False
_savefig = Figure.savefig


def begin(draw_all: bool) -> None:
    """Say whether all figures of the test that begins are drawn."""
    global _draw_all
    _draw_all = draw_all


@contextlib.contextmanager
def all_drawn():
    """Draw all figures inside, as in what several tests share."""
    before = _draw_all
    begin(True)
    yield
    begin(before)


def install() -> None:
    """Let every figure be saved so from now on."""
    Figure.savefig = _save


@functools.wraps(_savefig)
def _save(figure, file, **more):
    kind = _kind(figure)
    _counts[kind] += kind is not None
    if _draw_all or kind is None or _counts[kind] <= WHOLE or more.get("format") != "png":
        _savefig(figure, file, **more)
    else:
        imsave(file, _GRAY, format="png")


def _kind(figure: Figure) -> tuple[object, ...] | None:
    """Return which line of the package draws the figure, and the labels of its axes; None for a figure of others."""
    frame = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_PACKAGES) and not file.endswith(_PASSED_ON):
            return file, frame.f_lineno, *((axes.get_xlabel(), axes.get_ylabel()) for axes in figure.axes[:2])
        frame = frame.f_back
    return None
