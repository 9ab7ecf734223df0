"""Figures in tests: the first of each kind are drawn, all of them where a test asks for it, and others are gray."""

import warnings
from pathlib import Path

import drawing
import pytest
from matplotlib.image import imread

from lightning_pz.common.plotting import save_figure, single


@pytest.fixture(autouse=True)
def from_here(monkeypatch):
    monkeypatch.setattr(drawing, "_PACKAGES", (str(Path(__file__).parent),))
    monkeypatch.setattr(drawing, "_counts", drawing.Counter())


def is_drawn(tmp_path, label="return", title=""):
    figure, axes = single()
    axes.set(xlabel=label, title=title)
    save_figure(figure, tmp_path / "figure")
    return imread(tmp_path / "figure.png").shape[:2] != drawing._GRAY.shape[:2]


def test_the_first_figures_of_a_kind_are_drawn(tmp_path):
    assert [is_drawn(tmp_path) for _ in range(drawing.WHOLE + 2)] == [True] * drawing.WHOLE + [False] * 2
    assert is_drawn(tmp_path, label="another kind")


@pytest.mark.draws
def test_all_are_drawn_where_a_test_asks_for_it(tmp_path):
    assert all(is_drawn(tmp_path) for _ in range(drawing.WHOLE + 2))


def test_what_cannot_be_drawn_is_told(tmp_path):
    with warnings.catch_warnings(), pytest.raises(UserWarning, match="Glyph"):
        warnings.simplefilter("error")
        is_drawn(tmp_path, title="\N{HANGUL SYLLABLE GA}")


def test_figures_of_others_and_for_print_are_drawn(tmp_path, monkeypatch):
    for _ in range(drawing.WHOLE + 1):
        figure, _ = single()
        save_figure(figure, tmp_path / "figure", ("pdf",))
        assert (tmp_path / "figure.pdf").stat().st_size > 1000
    monkeypatch.setattr(drawing, "_PACKAGES", ())
    assert is_drawn(tmp_path)
