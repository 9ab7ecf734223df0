"""Figures of the dimension report: one for each environment, one across them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lightning_pz.common.plots import BLUE, GRAY, GREEN, ORANGE, RED, plt
from sweeps.dimension.analysis import Result

BARS = ("participation_ratio", "n90", "n95", "two_nn", "gride_1", "gride_4", "gride_16", "levina_bickel", "local_pca")
_NAMES = {
    "participation_ratio": "participation\nratio", "two_nn": "TwoNN", "gride_1": "GRIDE\n1:2", "gride_4": "GRIDE\n4:8",
    "gride_16": "GRIDE\n16:32", "levina_bickel": "Levina-\nBickel", "local_pca": "local\nPCA",
}  # fmt: skip
_COLORS = {"small": ORANGE, "medium": BLUE, "large": GREEN}
_MORE = (RED, "#AA4499", "#7A3B10", "#000000")
_SEVERAL = (BLUE, ORANGE, GREEN, *_MORE[1:])
_LINES = {"plain": ("--", "o"), "nested": ("-", ""), "variational": ("-.", "s")}


def environment(results: Sequence[Result], tau: float) -> Figure:
    """Draw FVU against latent size, with PCA, and the estimates of the behaviors' dimension beside their surrogates.

    Args:
        results: Of one environment.
        tau: Threshold of the behavior dimension.
    """
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11.5, 4.2), layout="constrained", gridspec_kw={"width_ratios": [1, 1.25]}
    )
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    drawn: set[tuple[str, tuple[tuple[int, float], ...]]] = set()
    looks = _looks(results)
    for result in results:
        _, color = looks[_population(result)]
        line, marker = _LINES.get(result.group.bottleneck, ("-", "^"))
        value, low, high = result.curve.T
        left.fill_between(result.sizes, low, high, color=color, alpha=0.2, linewidth=0)
        left.plot(
            result.sizes,
            value,
            color=color,
            linestyle=line,
            marker=marker or "",
            markersize=4,
            label=result.group.label,
        )
        key = (result.group.runs[0].pool, tuple(result.pca.items()))
        if result.pca and key not in drawn:
            drawn.add(key)
            left.plot(
                list(result.pca),
                list(result.pca.values()),
                color=color,
                linestyle=":",
                linewidth=1.3,
                marker="+",
                markersize=5,
            )
    left.axhline(tau, color=GRAY, linewidth=0.8)
    left.annotate(
        f"FVU {tau:g}", (0.01, tau), xycoords=("axes fraction", "data"), ha="left", va="bottom", fontsize=8, color=GRAY
    )
    ticks = sorted({size for result in results for size in result.sizes})
    left.set_xscale("log", base=2)
    shown = [size for size in ticks if size & (size - 1) == 0] if len(ticks) > 8 else ticks
    left.set_xticks(shown, [str(size) for size in shown], minor=False)
    left.minorticks_off()
    top = max(float(result.curve.max()) for result in results)
    left.set(xlabel="latent numbers k", ylabel="held-out FVU", ylim=(0, max(1.05 * top, 1.5 * tau)))
    left.set_title(f"{results[0].group.env}: behavior kept", fontsize=10)
    handles, labels = left.get_legend_handles_labels()
    handles.append(Line2D([], [], color=GRAY, linestyle=":", marker="+"))
    left.legend(handles, [*labels, "PCA on actions"], frameon=False, fontsize=8)
    _bars(right, results)
    return figure


def _bars(axes: plt.Axes, results: Sequence[Result]) -> None:
    populations = _probed(results)
    looks = _looks(results)
    width = 0.8 / max(1, len(populations))
    for place, (population, result) in enumerate(populations.items()):
        label, color = looks[population]
        found = [result.probe("behavior", name) for name in BARS]
        x = np.arange(len(BARS)) + (place - (len(populations) - 1) / 2) * width
        values, errors, surrogates = (
            np.array([math.nan if p is None else getattr(p, key) for p in found])
            for key in ("value", "error", "surrogate")
        )
        axes.bar(x, values, 0.92 * width, color=color, label=label, alpha=0.85)
        axes.errorbar(x, values, 1.96 * errors, fmt="none", ecolor="black", elinewidth=1, capsize=2)
        axes.hlines(surrogates, x - 0.46 * width, x + 0.46 * width, color=RED, linewidth=2.2)
    axes.set_xticks(range(len(BARS)), [_NAMES.get(name, name) for name in BARS], fontsize=8)
    priors = dict.fromkeys(result.prior for result in populations.values())
    title = "estimates of the behaviors' dimension"
    axes.set_title(
        f"{title}\nprior {'; '.join(priors)}" if populations else f"{title}: no run has probes.json", fontsize=10
    )
    axes.set(ylabel="dimension")
    axes.margins(y=0.2)  # room for the legend
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        handles.append(Line2D([], [], color=RED, linewidth=2.2))
        axes.legend(handles, [*labels, "Gaussian, same spectrum"], frameon=False, fontsize=8)


def overview(results: Sequence[Result], tau: float) -> Figure:
    """Draw behavior dimension, PCA floor and affine reference, and two estimates, over environments and policy sizes.

    Args:
        results: Of all environments.
        tau: Threshold of the behavior dimension.
    """
    envs = list(dict.fromkeys(result.group.env for result in results))
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.6), layout="constrained")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xticks(range(len(envs)), envs)
        axes.set(yscale="log", xlim=(-0.5, len(envs) - 0.5))
        axes.grid(axis="y", which="both", color="#EEEEEE", linewidth=0.6)
        axes.set_axisbelow(True)
    told: dict[str, Line2D] = {}
    looks = _looks(results)
    for at, env in enumerate(envs):
        mine = [result for result in results if result.group.env == env]
        left.hlines(mine[0].affine, at - 0.42, at + 0.42, color=GRAY, linewidth=1.6, linestyle="--")
        for place, result in enumerate(mine):
            x = at + (place - (len(mine) - 1) / 2) * 0.7 / max(1, len(mine))
            label, color = looks[_population(result)]
            marker = _LINES.get(result.group.bottleneck, ("", "^"))[1] or "D"
            _interval(left, x, result, color, marker)
            if math.isfinite(result.pca_floor):
                left.plot(x, result.pca_floor, marker="x", color=color, markersize=7, linestyle="")
            kind = {"plain": "separate runs"}.get(result.group.bottleneck, result.group.bottleneck)
            told[f"{label}, {kind}"] = _dot(color, marker)
        populations = _probed(mine)
        for step, (population, result) in enumerate(populations.items()):
            x = at + (step - (len(populations) - 1) / 2) * 0.7 / len(populations)
            _estimates(right, x, result, looks[population][1])
    left.set_title(f"numbers for FVU {tau:g} [95 %]; open with arrow: not reached", fontsize=10)
    right.set_title("estimates of the behaviors' dimension [95 %]", fontsize=10)
    for axes in (left, right):
        low, high = axes.get_ylim()
        axes.set_ylim(max(0.8, low * 0.8), high * 1.2)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    told |= {
        "PCA on actions": _dot(GRAY, "x"),
        "affine policy": Line2D([], [], color=GRAY, linewidth=1.6, linestyle="--"),
        "TwoNN": _dot(GRAY, "o"),
        "participation ratio": _dot(GRAY, "s"),
        "Gaussian, same spectrum": Line2D([], [], color=RED, linewidth=2.2),
    }
    figure.legend(told.values(), told.keys(), loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    return figure


def _dot(color: str, marker: str) -> Line2D:
    return Line2D([], [], color=color, marker=marker, linestyle="")


def _estimates(axes: plt.Axes, x: float, result: Result, color: str) -> None:
    for name, symbol, shift in (("two_nn", "o", -0.05), ("participation_ratio", "s", 0.05)):
        probe = result.probe("behavior", name)
        if probe is None or not math.isfinite(probe.value):
            continue
        axes.hlines(probe.surrogate, x + shift - 0.05, x + shift + 0.05, color=RED, linewidth=2.2)
        axes.errorbar(
            x + shift,
            probe.value,
            1.96 * probe.error,
            color=color,
            marker=symbol,
            markersize=4.5,
            capsize=2,
            linestyle="",
        )


def _interval(axes: plt.Axes, x: float, result: Result, color: str, marker: str) -> None:
    found = result.behavior
    if not math.isfinite(found.value):
        axes.annotate(
            "",
            (x, found.largest * 1.5),
            (x, found.largest),
            arrowprops={"arrowstyle": "->", "color": color, "linewidth": 1.5},
        )
        axes.plot(x, found.largest, marker=marker, color=color, markersize=5, markerfacecolor="white", linestyle="")
        return
    high = min(found.high, found.largest)
    axes.plot([x, x], [found.low, high], color=color, linewidth=1.5)
    axes.plot(x, found.value, marker=marker, color=color, markersize=5, linestyle="")


def _population(result: Result) -> tuple[str, str]:
    """Return what decides how policies of an environment behave: their size and the prior, grown or not."""
    return result.group.policy, result.prior


def _probed(results: Sequence[Result]) -> dict[tuple[str, str], Result]:
    """Return the first result with probes of every population, for behaviors belong to it and not to the runs."""
    found: dict[tuple[str, str], Result] = {}
    for result in results:
        if result.probes:
            found.setdefault(_population(result), result)
    return found


def _looks(results: Sequence[Result]) -> dict[tuple[str, str], tuple[str, str]]:
    """Return label and color of every population; policy size and its color where that tells them apart."""
    found = list(dict.fromkeys(map(_population, results)))
    if len({policy for policy, _ in found}) == len(found):
        return {(p, prior): (p, _COLORS.get(p, _MORE[i % len(_MORE)])) for i, (p, prior) in enumerate(found)}
    drawn = {prior.removeprefix("grown from ") for _, prior in found}
    names = {
        prior: ("grown" if prior.startswith("grown") else "random") if len(drawn) == 1 else prior for _, prior in found
    }
    return {(p, prior): (f"{p}, {names[prior]}", _SEVERAL[i % len(_SEVERAL)]) for i, (p, prior) in enumerate(found)}
