"""Figures of a fit, drawn of what leaves nothing unexplained and of very little."""

import pytest

from lightning_pz.common.plotting import save_figure
from lightning_pz.jobs import fit_figures

NOTHING_LEFT = {1: 0.2, 2: 0.0}

pytestmark = pytest.mark.draws


@pytest.mark.parametrize("curve", [NOTHING_LEFT, {1: 1e-20, 2: 3.0}])
def test_errors_of_zero_leave_a_figure_of_the_others(curve, tmp_path):
    figure = fit_figures.prefix_curve(curve, curve, "nothing left")
    save_figure(figure, tmp_path / "prefixes")
    assert all(0 < tick <= 1 for tick in figure.axes[0].get_yticks())


@pytest.mark.parametrize("value", [0.0, 1e-12, 5.0])
def test_training_of_any_error_is_drawn(value, tmp_path):
    figure = fit_figures.fvu_curve([(1, value, value), (2, value, value)], value, value, "flat")
    save_figure(figure, tmp_path / "fvu")
    low, high = figure.axes[0].get_ylim()
    assert low == 0 and high > value
