"""Figures of a fit: FVU over training, over latents kept, reconstructed actions, latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from lightning_pz.common.plotting import BLUE, GRAY, GREEN, ORANGE, RED, legend, single


def fvu_curve(history: Sequence[tuple[int, float, float]], pca: float, affine: float, title: str) -> Figure:
    """Draw a history of (step, held-out FVU, training FVU), with the linear references."""
    figure, axes = single()
    steps, held_out, train = np.array(history).T
    axes.plot(steps, held_out, color=BLUE, label="held out (policies and states)")
    axes.plot(steps, train, color=ORANGE, linestyle="--", label="training")
    axes.axhline(pca, color=GRAY, linestyle=":", label=f"PCA on behavior, same k ({pca:.3f})")
    axes.axhline(affine, color=GREEN, linestyle="-.", label=f"best affine policies ({affine:.3f})")
    top = max(held_out.max(), pca, affine)
    axes.set(xlabel="training steps", ylabel="FVU", title=title, ylim=(0, 1.5 * max(top, 1e-9)))
    # Above all lines: where it would lie best is found without those that cross the figure.
    legend(axes, loc="upper right")
    return figure


def prefix_curve(curve: Mapping[int, float], pca: Mapping[int, float], title: str) -> Figure:
    """Draw test FVU, and that of PCA on behavior, by the number of latents or components, both axes logarithmic."""
    figure, axes = single()
    axes.plot(list(curve), list(curve.values()), "o-", color=BLUE, markersize=3, label="first k latents, test policies")
    axes.plot(
        list(pca),
        list(pca.values()),
        "s:",
        color=GRAY,
        markersize=3,
        label="PCA on behavior, k components, the same policies",
    )
    axes.set(xscale="log", yscale="log", xlabel="latents kept, k", ylabel="FVU", title=title)
    axes.set_xticks(list(pca), [str(size) for size in pca])
    axes.minorticks_off()
    above = [value for value in (*curve.values(), *pca.values()) if value > 0]  # all that a logarithm shows
    low = 10 ** np.floor(np.log10(min(above)))
    ticks = [tick for tick in (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if tick >= low]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    legend(axes)
    return figure


def reconstruction(features: np.ndarray, rebuilt: np.ndarray, value: float, head: str) -> Figure:
    """Draw reconstructed against true behavior features of held-out policies and states, all coordinates together."""
    figure, axes = single(width=4.2, height=3.8)
    box = (0, 1) if head == "categorical" else (-1, 1)
    what = {
        "tanh": "action (box = -1 to 1)", "gaussian": "mean or deviation (box = -1 to 1)",
        "categorical": "root of a choice's probability",
    }[head]  # fmt: skip
    cells = axes.hexbin(
        features.ravel(), rebuilt.ravel(), gridsize=60, bins="log", cmap="Blues", mincnt=1, extent=box * 2
    )
    axes.plot(box, box, color=RED, linewidth=0.8)
    axes.set(xlabel=f"true {what}", ylabel="reconstructed", title=f"held out, FVU {value:.3f}")
    axes.set(xlim=box, ylim=box, aspect="equal")
    figure.colorbar(cells, label="count", shrink=0.75)
    return figure


def latent_scatter(latents: np.ndarray, color: np.ndarray, title: str) -> Figure:
    """Draw the first two latents, (N, k), colored by the first behavior component, (N,), or one against it."""
    figure, axes = single(width=4.8, height=3.8)
    if latents.shape[1] == 1:
        axes.scatter(latents[:, 0], color, s=3, color=BLUE, linewidths=0)
        axes.set(xlabel="$z_1$", ylabel="first behavior component", title=title)
        return figure
    limit = np.quantile(np.abs(color), 0.98)
    first, second = latents[:, :2].T
    points = axes.scatter(first, second, c=color, s=4, cmap="coolwarm", vmin=-limit, vmax=limit, linewidths=0)
    axes.set(xlabel="$z_1$", ylabel="$z_2$", title=title)
    figure.colorbar(points, label="first behavior component")
    return figure
