"""Figures of an evaluation: latent maps, distributions of returns, returns against latent coordinates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from lightning_pz.common.plotting import BLUE, GRAY, ORANGE, RED, legend, look, panels
from lightning_pz.common.statistics import ends_are
from lightning_pz.evaluation.groups import GRID_DIM, Plays

if TYPE_CHECKING:
    from lightning_pz.evaluation.recovery_table import Recovery

_SLICES = 5
_COORDINATES = 4
_GROUPS = {
    "pool": (BLUE, "-", "pool, held out"),
    "reconstructed": (GRAY, ":", "the same, decoded"),
    "latents": (ORANGE, "--", "latents, decoded"),
    "random": (RED, "-.", "fresh random"),
}
_Means = Mapping[str, Mapping[str, np.ndarray]]  # mean returns by task and group, (N,)


def evaluation_figures(played: Plays, title: str) -> dict[str, Figure]:
    """Return all figures by name."""
    means = {task: {group: played.returns[group][task].mean(1) for group in _GROUPS} for task in played.tasks}
    latents = played.latents["latents"]
    figures = {"returns": return_distributions(means), "coordinates": coordinates(latents, means)}
    if latents.shape[1] <= GRID_DIM:
        figures["latent_map"] = latent_map(latents, {task: groups["latents"] for task, groups in means.items()})
    for figure in figures.values():
        figure.suptitle(title)
    return figures


def return_distributions(means: _Means) -> Figure:
    """Draw the share of policies that reach at least a return, one panel a task."""
    figure, (axes,) = panels(1, len(means), width=2.6 * len(means) + 0.6, height=3.2)
    for axis, (task, groups) in zip(axes, means.items(), strict=True):
        for group, (color, line, label) in _GROUPS.items():
            values = np.sort(groups[group][np.isfinite(groups[group])])
            share = 1 - np.arange(len(values)) / len(values)
            axis.step(values, share, where="post", color=color, linestyle=line, label=label)
        axis.set(xlabel=f"return, {task}", yscale="log")
    axes[0].set_ylabel("share of policies\nat least as good")
    legend(figure, *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=min(4, 2 * len(means)))
    return figure


def coordinates(latents: np.ndarray, means: _Means) -> Figure:
    """Draw the return of decoded latents against each of their first coordinates, a row a task."""
    count = min(_COORDINATES, latents.shape[1])
    figure, axes = panels(len(means), count, width=2.2 * count + 1.0, height=1.9 * len(means) + 0.4)
    for row, (task, groups) in zip(axes, means.items(), strict=True):
        for i, axis in enumerate(row):
            axis.scatter(latents[:, i], groups["latents"], s=4, color=BLUE, linewidths=0, rasterized=True)
        row[0].set_ylabel(f"return, {task}")
    for i, axis in enumerate(axes[-1]):
        axis.set_xlabel(f"$z_{{{i + 1}}}$")
    return figure


def latent_map(latents: np.ndarray, returns: Mapping[str, np.ndarray]) -> Figure:
    """Draw the return over the latent grid: a curve for k = 1, a map for k = 2, slices along z_3 for k = 3.

    The grid is (side^k, k), last coordinate fastest, and mean returns by task (side^k,).
    """
    k, count = latents.shape[1], len(returns)
    if k == 1:
        figure, (axes,) = panels(1, count, width=3.0 * count + 0.6, height=3.0)
        for axis, (task, values) in zip(axes, returns.items(), strict=True):
            axis.plot(latents[:, 0], values, color=BLUE, linewidth=0.9)
            axis.set(xlabel="$z_1$", title=task)
        axes[0].set_ylabel("return")
        return figure
    first, second, *third = [np.unique(latents[:, i]) for i in range(k)]
    side = len(first)
    places = np.unique(np.linspace(0, side - 1, _SLICES).astype(int)) if k == 3 else [0]
    figure, grid = panels(len(places), count, width=2.9 * count + 0.6, height=2.3 * len(places) + 0.4)
    for column, (task, values) in enumerate(returns.items()):
        low, high = np.nanmin(values), np.nanmax(values)
        for axis, place in zip(grid[:, column], places, strict=True):
            level = values.reshape(side, side, -1)[:, :, place]
            image = axis.pcolormesh(first, second, level.T, vmin=low, vmax=high, cmap="viridis", rasterized=True)
            if column == 0:
                axis.set_ylabel("$z_2$" + (f"   ($z_3$ = {third[0][place]:.2g})" if third else ""))
        grid[0, column].set_title(task)
        grid[-1, column].set_xlabel("$z_1$")
        figure.colorbar(image, ax=grid[:, column], label="return", shrink=0.9)
    return figure


def recovery_curves(found: Sequence[Recovery], published: Mapping[str, Mapping], title: str) -> Figure:
    """Draw `recovery_best` with its interval or range against latent size, a panel a task.

    Recovery that a paper reports, `published` by task, policy and latent size, is hollow.
    """
    tasks, policies = (list(dict.fromkeys(getattr(one, name) for one in found)) for name in ("task", "policy"))
    sizes = sorted({one.latent_dim for one in found})
    figure, (axes,) = panels(1, len(tasks), width=2.6 * len(tasks) + 1.4, height=3.4)
    for axis, task in zip(axes, tasks, strict=True):
        for i, policy in enumerate(policies):
            color, line, marker = look(i)
            own = [one for one in found if (one.task, one.policy) == (task, policy)]
            mean, low, high = np.array([one.values["recovery_best"][:3] for one in own]).T
            x = np.array([sizes.index(one.latent_dim) for one in own]) + 0.12 * (i - (len(policies) - 1) / 2)
            error = np.nan_to_num(np.maximum(0, [mean - low, high - mean]))
            axis.errorbar(x, mean, error, color=color, ls=line, marker=marker, markersize=4, capsize=2, label=policy)
            theirs = published.get(task, {}).get(policy, {})
            points = [(place, theirs[k]) for place, k in enumerate(sizes) if k in theirs]
            axis.plot(*np.array(points).reshape(-1, 2).T, "s", color=color, markerfacecolor="none")
        axis.axhline(1, color=GRAY, linewidth=0.7)
        axis.set_xticks(range(len(sizes)), [str(k) for k in sizes])
        axis.set(xlabel="latent size k", title=task)
    if published:
        axes[0].plot([], [], "s", color=GRAY, markerfacecolor="none", label="published")
    axes[0].set_ylabel("recovery of the best\n(1 = the pool's best)")
    legend(figure, *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.suptitle(title + ends_are({one.values["recovery_best"].kind for one in found}, " (bars: {})"))
    return figure
