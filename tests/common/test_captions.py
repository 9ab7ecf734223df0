"""Figures call a range a range, and draw runs that have neither interval nor range."""

import math
from pathlib import Path

import numpy as np
import pytest

from lightning_pz.common.statistics import NONE, RANGE, STUDENT, Estimate
from lightning_pz.comparison.analysis import Curve, Entry, Task, curve_of
from lightning_pz.comparison.figures import learning_curves
from lightning_pz.comparison.search_runs import SearchRun
from lightning_pz.compression.figures import trade_off
from lightning_pz.evaluation.figures import recovery_curves
from lightning_pz.evaluation.metrics import RECOVERY_METRICS
from lightning_pz.evaluation.recovery_table import Recovery

RUN = SearchRun(
    Path("run"), "mountaincar", "MountainCarContinuous-v0", "small", "left", "pgpe", "", 0, 10, 10, 1.0, 0.0, np.arange(2),
    np.zeros(2), {}, "", "", {},
)  # fmt: skip


def curves(*counts, pool=None):
    """Return the legend of a figure of contenders with so many runs each."""
    grid, entries = np.linspace(0, 10, 11), []
    for place, count in enumerate(counts):
        runs = np.random.default_rng(place).normal(size=(count, 11)).cumsum(1)
        estimate = Estimate(0.0, math.nan, math.nan, NONE)
        curve = curve_of([runs])
        entries.append(Entry(f"way {place}", (RUN,) * count, 10, runs, curve, estimate, {}, {10: estimate}, {}, 0))
    task = Task("mountaincar", "left", grid, 0.0, False, 5.0, "way 0", pool, (10,), tuple(entries))
    figure = learning_curves(task, {entry.contender: place for place, entry in enumerate(entries)})
    (legend,) = figure.legends
    return legend.get_title().get_text(), [text.get_text() for text in legend.get_texts()], figure


@pytest.mark.parametrize(
    "counts, words",
    [
        ((5, 4), "band: 95 % interval"),
        ((3, 2), "band: range"),
        ((5, 2), "band: 95 % interval, of fewer than 4 the range"),
        ((1,), "algorithm (seeds)"),
    ],
)
def test_learning_curves_name_their_bands(counts, words):
    title, _, _ = curves(*counts)
    assert title.endswith(words)


def test_the_pool_is_drawn_with_what_is_known_of_it():
    _, labels, figure = curves(5, pool=Estimate(4.0, 1.0, 6.0, RANGE))
    assert labels[-1] == "best in the pool (range)" and figure.axes[0].get_ylim()[1] > 6
    _, labels, _ = curves(5, pool=Estimate(4.0, math.nan, math.nan, NONE))
    assert labels[-1] == "best in the pool"


def test_bands_of_few_runs_are_their_range_point_by_point():
    runs = np.array([[1.0, 4.0], [3.0, 2.0]])
    found = curve_of([runs])
    assert isinstance(found, Curve) and found.kind == RANGE
    np.testing.assert_array_equal([found.low, found.high], [runs.min(0), runs.max(0)])


def test_recovery_names_its_bars():
    values = {metric: Estimate(0.8, 0.7, 1.0, RANGE) for metric in RECOVERY_METRICS}
    found = [Recovery("small", k, "left", (0, 1), values) for k in (1, 2)]
    alone = {metric: Estimate(0.8, math.nan, math.nan, NONE) for metric in RECOVERY_METRICS}
    assert recovery_curves(found, {}, "title").get_suptitle() == "title (bars: range)"
    assert recovery_curves([Recovery("small", 1, "left", (0,), alone)], {}, "title").get_suptitle() == "title"


def test_compression_names_its_bars_and_draws_runs_of_one_episode():
    run = {"method": "prune", "sparsity_target": 0.9, "bytes_file": 100, "bytes_float32": 400}
    several = (
        run | Estimate(5.0, 4.0, 6.0, STUDENT).keys("return") | Estimate(7.0, 6.0, 8.0, RANGE).keys("return_dense")
    )
    axes = trade_off([several], "title").axes[0]
    assert axes.get_ylabel() == "return (bars: 95 % interval)"
    assert "uncompressed policy (band: range)" in axes.get_legend_handles_labels()[1]
    one = Estimate(5.0, math.nan, math.nan, NONE)
    axes = trade_off([run | one.keys("return") | one.keys("return_dense")], "title").axes[0]
    assert axes.get_ylabel() == "return"
