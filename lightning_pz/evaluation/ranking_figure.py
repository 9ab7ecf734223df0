"""Draws a ranking of a grown pool: how good the pool is at a task, and where in it the good ones lie."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from lightning_pz.common.plotting import BLUE, GRAY, ORANGE, RED, legend, panels
from lightning_pz.pool.store import Pool
from lightning_pz.replay.policy_features import principal_outcomes
from lightning_pz.replay.ranking import Ranking

_MOST = 8000
"""Policies drawn in the map."""


def ranking_figure(pool: Pool, ranking: Ranking) -> Figure:
    """Draw expected against exact returns, or the distribution of known ones, beside the map of outcomes."""
    figure, ((left, right),) = panels(1, 2, width=10.0, height=4.0)
    if ranking.replayed:
        _expected(left, ranking)
    else:
        _distribution(left, ranking)
    dots = _map(right, pool, ranking)
    figure.colorbar(dots, ax=right, label="return" if not ranking.replayed else "return, or its prediction")
    task = ranking.task.rpartition(":")[2]
    best = f"the best of {len(pool):,} policies earns {ranking.returns[0]:.4g}"
    figure.suptitle(f"{task} on {pool.meta['env']['id']}: {best}")
    return figure


def _expected(axes: Axes, ranking: Ranking) -> None:
    asked = np.isfinite(ranking.expected)
    drawn = np.sort(ranking.returns[~asked])
    expected, exact = ranking.expected[asked], ranking.returns[asked]
    if len(exact):
        ends = [min(expected.min(), exact.min()), max(expected.max(), exact.max())]
        axes.plot(ends, ends, color=GRAY, linewidth=0.8, linestyle="--", label="as expected")
        axes.scatter(
            expected, exact, s=6, color=BLUE, linewidths=0, rasterized=True, label="chosen by prediction, replayed"
        )
    if len(drawn):
        axes.axhline(drawn[-1], color=ORANGE, linestyle="-.", label=f"best of {len(drawn):,} drawn at random")
    if asked[0]:
        axes.plot(ranking.expected[0], ranking.returns[0], "*", color=RED, markersize=12, label="best")
    axes.set(xlabel="return that the regression expected", ylabel="return in its growth episode, replayed")
    axes.set_title(f"{ranking.replayed:,} policies replayed, no environment step", fontsize=10)
    legend(axes, loc="best")


def _distribution(axes: Axes, ranking: Ranking) -> None:
    values = np.sort(ranking.returns[np.isfinite(ranking.returns)])
    axes.step(values, len(values) - np.arange(len(values)), where="post", color=BLUE)
    axes.plot(values[-1:], [1], "*", color=RED, markersize=12, label="best")
    axes.set(xlabel="return in its growth episode", ylabel="policies at least as good", yscale="log")
    axes.set_title("known from the growth", fontsize=10)
    legend(axes, loc="lower left")


def _map(axes: Axes, pool: Pool, ranking: Ranking) -> PathCollection:
    flat = principal_outcomes(pool, 2)
    flat = np.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))
    values = np.where(np.isfinite(ranking.values), ranking.values, np.nan)
    # A prediction may lie far off; the range is that of exact returns.
    known = ranking.returns[np.isfinite(ranking.returns)]
    shown = np.random.default_rng(0).permutation(len(flat))[:_MOST]
    shown = shown[np.argsort(values[shown], kind="stable")]  # the best on top
    x, y = flat[shown].T
    dots = axes.scatter(x, y, c=values[shown], s=5, cmap="viridis", linewidths=0, vmin=known.min(), vmax=known.max())
    axes.plot(*flat[int(ranking.rows[0])], "*", color=RED, markersize=13, markeredgecolor="white", label="best")
    axes.set(xlabel="first principal outcome", ylabel="second principal outcome")
    axes.set_title("where the kept policies went", fontsize=10)
    legend(axes, loc="best")
    return dots
