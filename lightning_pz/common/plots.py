"""Figures of a fit. Drawn off screen, saved as PNG, handed on to TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from lightning_pz.common.files import replacing

# Okabe and Ito's palette, distinct for every kind of color vision; line styles differ too, for print.
BLUE, ORANGE, GREEN, RED, GRAY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#666666"


def save(figure: Figure, path: Path) -> Path:
    """Write a figure whole, as its suffix says, at 150 dots per inch; the caller may still use it."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format=path.suffix.removeprefix("."), dpi=150, bbox_inches="tight")
    return path


def _axes(width: float = 5.0, height: float = 3.6) -> tuple[Figure, plt.Axes]:
    figure, axes = plt.subplots(figsize=(width, height), layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def fvu_curve(history: Sequence[tuple[int, float, float]], pca: float, affine: float, title: str) -> Figure:
    """Draw held-out and training FVU against training steps, with the linear references.

    Args:
        history: (step, held-out FVU, training FVU) at each validation.
        pca: FVU of PCA on actions at the same k.
        affine: FVU of the best affine policy for each policy.
        title: What was fitted.
    """
    figure, axes = _axes()
    steps, held_out, train = np.array(history).T
    axes.plot(steps, held_out, color=BLUE, label="held out (policies and states)")
    axes.plot(steps, train, color=ORANGE, linestyle="--", label="training")
    axes.axhline(pca, color=GRAY, linestyle=":", label=f"PCA on actions, same k ({pca:.3f})")
    axes.axhline(affine, color=GREEN, linestyle="-.", label=f"best affine policies ({affine:.3f})")
    top = max(held_out.max(), pca, affine)
    axes.set(xlabel="training steps", ylabel="FVU", title=title, ylim=(0, 1.1 * top))
    axes.legend(frameon=False, fontsize=8)
    return figure


def prefix_curve(curve: Mapping[int, float], pca: Mapping[int, float], title: str) -> Figure:
    """Draw FVU against the number of leading latents that are kept, both axes logarithmic.

    Args:
        curve: Test FVU by number of latents.
        pca: FVU of PCA on actions by number of components.
        title: What was fitted.
    """
    figure, axes = _axes()
    axes.plot(list(curve), list(curve.values()), "o-", color=BLUE, markersize=3, label="first k latents, test policies")
    axes.plot(list(pca), list(pca.values()), "s:", color=GRAY, markersize=3, label="PCA on actions, k components")
    axes.set(xscale="log", yscale="log", xlabel="latents kept, k", ylabel="FVU", title=title)
    axes.set_xticks(list(pca), [str(size) for size in pca])
    axes.minorticks_off()
    low = 10 ** np.floor(np.log10(min(*curve.values(), *pca.values())))
    ticks = [tick for tick in (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if tick >= low]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.legend(frameon=False, fontsize=8)
    return figure


def reconstruction(actions: np.ndarray, rebuilt: np.ndarray, value: float) -> Figure:
    """Draw reconstructed against true actions of held-out policies on held-out states, all coordinates together.

    Args:
        actions: True actions, any shape, in -1..1.
        rebuilt: Reconstructed actions, same shape.
        value: FVU, for the title.
    """
    figure, axes = _axes(4.2, 3.8)
    cells = axes.hexbin(
        actions.ravel(), rebuilt.ravel(), gridsize=60, bins="log", cmap="Blues", mincnt=1, extent=(-1, 1, -1, 1)
    )
    axes.plot([-1, 1], [-1, 1], color=RED, linewidth=0.8)
    axes.set(
        xlabel="true action (box = -1 to 1)",
        ylabel="reconstructed action",
        title=f"held out, FVU {value:.3f}",
        xlim=(-1, 1),
        ylim=(-1, 1),
        aspect="equal",
    )
    figure.colorbar(cells, label="count", shrink=0.75)
    return figure


def latent_scatter(latents: np.ndarray, color: np.ndarray, title: str) -> Figure:
    """Draw the first two latent coordinates of held-out policies, colored by their first behavior component.

    With one coordinate, the component itself is drawn against it.

    Args:
        latents: (N, k), k >= 1; whitened or not.
        color: First principal component of the actions, (N,), no unit.
        title: What was fitted.
    """
    figure, axes = _axes(4.8, 3.8)
    if latents.shape[1] == 1:
        axes.scatter(latents[:, 0], color, s=3, color=BLUE, linewidths=0)
        axes.set(xlabel="$z_1$", ylabel="first behavior component", title=title)
        return figure
    limit = np.quantile(np.abs(color), 0.98)
    points = axes.scatter(
        latents[:, 0], latents[:, 1], c=color, s=4, cmap="coolwarm", vmin=-limit, vmax=limit, linewidths=0
    )
    axes.set(xlabel="$z_1$", ylabel="$z_2$", title=title)
    figure.colorbar(points, label="first behavior component")
    return figure
