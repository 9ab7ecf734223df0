"""Figures of an evaluation: latent maps, distributions of returns, returns against latent coordinates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from lightning_pz.common.plots import BLUE, GRAY, GREEN, ORANGE, RED, plt
from lightning_pz.common.statistics import ends_are
from lightning_pz.evaluation.groups import Plays
from lightning_pz.evaluation.latents import GRID_DIM

if TYPE_CHECKING:
    from lightning_pz.evaluation.recovery_table import Recovery

_COLORS, _LINES = (BLUE, ORANGE, GREEN, RED), ("-", "--", "-.", ":")
_SLICES = 5
_COORDINATES = 4


def draw(plays: Plays, title: str) -> dict[str, Figure]:
    """Return all figures by name.

    Args:
        plays: What was played.
        title: What was evaluated.
    """
    means = {task: {group: plays.returns[group][task].mean(1) for group in plays.returns} for task in plays.tasks}
    latents = plays.latents["latents"]
    figures = {
        "returns": distributions(means, title),
        "coordinates": coordinates(latents, means, title),
    }
    k = latents.shape[1]
    if k <= GRID_DIM:
        figures["latent_map"] = latent_map(latents, {task: groups["latents"] for task, groups in means.items()}, title)
    return figures


def _panels(rows: int, columns: int, width: float = 3.0, height: float = 2.6) -> tuple[Figure, np.ndarray]:
    figure, axes = plt.subplots(
        rows, columns, figsize=(width * columns + 0.6, height * rows + 0.4), layout="constrained", squeeze=False
    )
    return figure, axes


def distributions(means: dict[str, dict[str, np.ndarray]], title: str) -> Figure:
    """Draw the share of policies that reach at least a return, pool against decoded, one panel a task."""
    figure, axes = _panels(1, len(means))
    styles = {
        "pool": (BLUE, "-", "pool, held out"),
        "reconstructed": (GRAY, ":", "the same, decoded"),
        "latents": (ORANGE, "--", "latents, decoded"),
        "random": (RED, "-.", "fresh random"),
    }
    for axis, (task, groups) in zip(axes[0], means.items(), strict=True):
        for group, (color, line, label) in styles.items():
            values = np.sort(groups[group][np.isfinite(groups[group])])
            share = 1 - np.arange(len(values)) / len(values)
            axis.step(values, share, where="post", color=color, linestyle=line, label=label)
        axis.set(xlabel=f"return, {task}", yscale="log")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("share of policies at least as good")
    axes[0, 0].legend(frameon=False, fontsize=7, loc="lower left")
    figure.suptitle(title)
    return figure


def coordinates(latents: np.ndarray, means: dict[str, dict[str, np.ndarray]], title: str) -> Figure:
    """Draw the return of decoded latents against each of their first coordinates, a row a task."""
    count = min(_COORDINATES, latents.shape[1])
    figure, axes = _panels(len(means), count, 2.4, 2.0)
    for row, (task, groups) in zip(axes, means.items(), strict=True):
        for i, axis in enumerate(row):
            axis.scatter(latents[:, i], groups["latents"], s=4, color=BLUE, linewidths=0, rasterized=True)
            axis.spines[["top", "right"]].set_visible(False)
            axis.set_xlabel(f"$z_{{{i + 1}}}$")
        row[0].set_ylabel(f"return, {task}")
    figure.suptitle(title)
    return figure


def latent_map(latents: np.ndarray, returns: dict[str, np.ndarray], title: str) -> Figure:
    """Draw the return over the latent grid: a curve for k = 1, a map for k = 2, slices along z_3 for k = 3.

    Args:
        latents: The grid, (side^k, k), last coordinate fastest.
        returns: Mean returns by task, (side^k,).
        title: What was evaluated.
    """
    k = latents.shape[1]
    side = round(len(latents) ** (1 / k))
    axes_values = [np.unique(latents[:, i]) for i in range(k)]
    if k == 1:
        figure, axes = _panels(1, len(returns))
        for axis, (task, values) in zip(axes[0], returns.items(), strict=True):
            axis.plot(latents[:, 0], values, color=BLUE, linewidth=0.9)
            axis.set(xlabel="$z_1$", title=task)
            axis.spines[["top", "right"]].set_visible(False)
        axes[0, 0].set_ylabel("return")
        figure.suptitle(title)
        return figure
    slices = [None] if k == 2 else np.unique(np.linspace(0, side - 1, _SLICES).astype(int)).tolist()
    figure, axes = _panels(len(slices) if k == 3 else 1, len(returns), 2.9, 2.3)
    for column, (task, values) in enumerate(returns.items()):
        low, high = np.nanmin(values), np.nanmax(values)
        for row, index in enumerate(slices):
            grid = values.reshape((side,) * k)
            grid = grid if index is None else grid[:, :, index]
            axis = axes[row, column]
            image = axis.pcolormesh(
                axes_values[0], axes_values[1], grid.T, vmin=low, vmax=high, cmap="viridis", rasterized=True
            )
            if row == 0:
                axis.set_title(task)
            if column == 0:
                at = "" if index is None else f"   ($z_3$ = {axes_values[2][index]:.2g})"
                axis.set_ylabel(f"$z_2${at}")
        axes[-1, column].set_xlabel("$z_1$")
        figure.colorbar(image, ax=axes[:, column], label="return", shrink=0.9)
    figure.suptitle(title)
    return figure


def recovery_curves(cells: Sequence[Recovery], published: Mapping[str, Mapping], title: str) -> Figure:
    """Draw `recovery_best` with its interval or range against latent size, a panel a task, published numbers hollow.

    Args:
        cells: The cells of a table.
        published: Recovery that a paper reports, by task, policy and latent size.
        title: What was evaluated.
    """
    tasks = list(dict.fromkeys(cell.task for cell in cells))
    policies = list(dict.fromkeys(cell.policy for cell in cells))
    sizes = sorted({cell.latent_dim for cell in cells})
    figure, axes = _panels(1, len(tasks), 2.8, 2.8)
    for axis, task in zip(axes[0], tasks, strict=True):
        for i, (policy, color, line) in enumerate(zip(policies, _COLORS, _LINES, strict=False)):
            mine = [cell for cell in cells if (cell.task, cell.policy) == (task, policy)]
            mean, low, high = np.array([cell.values["recovery_best"][:3] for cell in mine]).T
            x = np.array([sizes.index(cell.latent_dim) for cell in mine]) + 0.12 * (i - (len(policies) - 1) / 2)
            error = np.nan_to_num(np.maximum(0, [mean - low, high - mean]))
            axis.errorbar(
                x, mean, error, color=color, linestyle=line, marker="o", markersize=4, capsize=2, label=policy
            )
            told = published.get(task, {}).get(policy, {})
            at = [sizes.index(k) for k in sizes if k in told]
            axis.plot(at, [told[sizes[j]] for j in at], "s", color=color, markerfacecolor="none")
        axis.axhline(1, color=GRAY, linewidth=0.7)
        axis.set_xticks(range(len(sizes)), [str(k) for k in sizes])
        axis.set(xlabel="latent size k", title=task)
        axis.spines[["top", "right"]].set_visible(False)
    if published:
        axes[0, 0].plot([], [], "s", color=GRAY, markerfacecolor="none", label="published")
    axes[0, 0].set_ylabel("recovery_best")
    axes[0, 0].legend(frameon=False, fontsize=7)
    told = ends_are({cell.values["recovery_best"].kind for cell in cells})
    figure.suptitle(title + (f" (bars: {told})" if told else ""))
    return figure
