"""Figures of the dimension report: one for each environment, one across them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lightning_pz.common.plotting import BLUE, GRAY, GREEN, ORANGE, RED, legend, look, panels
from sweeps.dimension.findings import Findings
from sweeps.dimension.fit_runs import Group

_BARS = {
    "participation_ratio": "participation\nratio", "n90": "PCs for\n90 %", "n95": "PCs for\n95 %", "two_nn": "TwoNN", "gride_1": "GRIDE\n1:2",
    "gride_4": "GRIDE\n4:8", "gride_16": "GRIDE\n16:32", "levina_bickel": "Levina-\nBickel", "local_pca": "local\nPCA",
}  # fmt: skip
_COLORS = {"small": ORANGE, "medium": BLUE, "large": GREEN}
_LINES = {"plain": ("--", "o"), "nested": ("-", ""), "variational": ("-.", "s")}
_SURROGATE: dict[str, Any] = {"color": RED, "linewidth": 2.2}
# Wide, since others may lie on it.
_AFFINE: dict[str, Any] = {"color": GRAY, "linewidth": 5, "alpha": 0.35, "zorder": 0}
_GAUSSIAN = "Gaussian cloud of the same spectrum"
_ASIDE = 0.035  # how far from the middle, to either side, what is of one result and one height stands
_GROWN = "grown from "  # begins the prior of a grown pool
_RECIPE = "data.recipe"
_Population = tuple[str, str]  # policy size and prior, which decide how policies of an environment behave


def environment_figure(results: Sequence[Findings], tau: float) -> Figure:
    """Draw FVU against latent size, with PCA, and the estimates of the behaviors' dimension beside their surrogates."""
    figure, ((left, right),) = panels(1, 2, width=11.5, height=4.4, ratios=(1.0, 1.25))
    _draw_curves(left, results, tau)
    _draw_bars(right, results)
    return figure


def _draw_curves(axes: Axes, results: Sequence[Findings], tau: float) -> None:
    drawn: set[tuple[str, tuple[tuple[int, float], ...]]] = set()
    looks = _looks(results)
    for result in results:
        _, color = looks[_population(result)]
        line, marker = _LINES.get(result.group.bottleneck, ("-", "^"))
        value, low, high = result.curve.T
        style: dict[str, Any] = {"color": color, "linestyle": line, "marker": marker, "markersize": 4}
        axes.fill_between(result.sizes, low, high, color=color, alpha=0.2, linewidth=0)
        axes.plot(result.sizes, value, **style, label=_label(result.group))
        key = (result.group.runs[0].pool, tuple(result.pca.items()))
        if result.pca and key not in drawn:
            drawn.add(key)
            axes.plot(*zip(*result.pca.items(), strict=True), color=color, linestyle=":", marker="+", markersize=5)
    axes.axhline(tau, color=GRAY, linewidth=0.8)
    axes.annotate(f"FVU {tau:g}", (0.01, tau), xycoords=("axes fraction", "data"), va="bottom", fontsize=8, color=GRAY)
    ticks = sorted({size for result in results for size in result.sizes})
    shown = [size for size in ticks if size & (size - 1) == 0] if len(ticks) > 8 else ticks
    axes.set_xscale("log", base=2)
    axes.set_xticks(shown, [str(size) for size in shown])
    axes.minorticks_off()
    top = max(max(float(result.curve.max()), *result.pca.values(), 0.0) for result in results)
    axes.set(xlabel="latent numbers k", ylim=(0, max(1.05 * top, 1.5 * tau)))
    axes.set_ylabel("held-out FVU (fraction of action variance unexplained)", fontsize=9)
    axes.set_title(f"{results[0].group.env}: what k numbers lose of behavior", fontsize=10)
    handles, labels = axes.get_legend_handles_labels()
    pca = Line2D([], [], color=GRAY, linestyle=":", marker="+")
    legend(axes, [*handles, pca], [*labels, f"PCA on actions{max(r.note for r in results)}"])


def _draw_bars(axes: Axes, results: Sequence[Findings]) -> None:
    populations, looks = _probed(results), _looks(results)
    width = 0.8 / max(1, len(populations))
    for place, (population, result) in enumerate(populations.items()):
        label, color = looks[population]
        found = [result.probe("behavior", name) for name in _BARS]
        x = np.arange(len(_BARS)) + (place - (len(populations) - 1) / 2) * width
        numbers = [(p.value, p.error, p.surrogate) if p else (math.nan,) * 3 for p in found]
        values, errors, surrogates = np.array(numbers).T
        axes.bar(x, values, 0.92 * width, color=color, label=label, alpha=0.85)
        axes.errorbar(x, values, 1.96 * errors, fmt="none", ecolor="black", elinewidth=1, capsize=2)
        axes.hlines(surrogates, x - 0.46 * width, x + 0.46 * width, **_SURROGATE)
    axes.set_xticks(range(len(_BARS)), list(_BARS.values()), fontsize=7)
    priors = _priors([result.prior for result in populations.values()])
    about = f"\n{priors}" if populations else ": no run has probes.json"
    axes.set_title(f"estimates of the behaviors' dimension{about}", fontsize=10)
    axes.set(ylabel="dimension")
    axes.margins(y=0.25)  # space for the legend
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        legend(axes, [*handles, Line2D([], [], **_SURROGATE)], [*labels, _GAUSSIAN], ncols=2)


def across_environments(results: Sequence[Findings], tau: float) -> Figure:
    """Draw behavior dimension, PCA floor and affine reference, and two estimates, over environments and policy sizes."""
    envs = list(dict.fromkeys(result.group.env for result in results))
    figure, ((left, right),) = panels(1, 2, width=10.5, height=4.8)
    for axes in (left, right):
        axes.set_xticks(range(len(envs)), envs)
        axes.set(yscale="log", xlim=(-0.5, len(envs) - 0.5))
        axes.grid(axis="y", which="both", color="#EEEEEE", linewidth=0.6)
        axes.set_axisbelow(True)
    entries: dict[str, Line2D] = {}
    looks = _looks(results)
    drawn: set[tuple[str, tuple[tuple[int, float], ...]]] = set()
    for at, env in enumerate(envs):
        mine = [result for result in results if result.group.env == env]
        left.hlines(mine[0].affine, at - 0.42, at + 0.42, **_AFFINE)
        for x, result in _side_by_side(at, mine):
            label, color = looks[_population(result)]
            marker = _LINES.get(result.group.bottleneck, ("", "^"))[1] or "D"
            found, key = result.behavior, (result.group.runs[0].pool, tuple(result.pca.items()))
            _draw_dimension(left, x - _ASIDE, (found.value, found.low, found.high), found.largest, color, marker)
            if result.pca and key not in drawn:  # PCA is of a pool, and not of the runs
                drawn.add(key)
                _draw_dimension(left, x + _ASIDE, (result.pca_floor,) * 3, max(result.pca), color, "x")
            entries[f"{label}, {_kind(result.group)}"] = _dot(color, marker)
        for x, result in _side_by_side(at, list(_probed(mine).values())):
            _draw_estimates(right, x, result, looks[_population(result)][1])
    left.set_title(
        f"numbers for an FVU of {tau:g} (bars: 95 %)\nwith an arrow: more than the most that were tried", fontsize=10
    )
    left.set_ylabel("latent numbers k, or components")
    right.set_title("estimates of the behaviors' dimension (bars: 95 %)", fontsize=10)
    right.set_ylabel("dimension")
    for axes in (left, right):
        low, high = axes.get_ylim()
        axes.set_ylim(max(0.8, low * 0.8), high * 1.2)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    entries |= {
        f"PCA on actions{max(r.note for r in results)}": _dot(GRAY, "x"),
        "affine policies": Line2D([], [], **_AFFINE),
    }
    entries |= {"TwoNN": _dot(GRAY, "o"), "participation ratio": _dot(GRAY, "s")}
    entries[_GAUSSIAN] = Line2D([], [], **_SURROGATE)
    legend(figure, entries.values(), entries.keys(), loc="outside lower center", ncols=4)
    return figure


def _side_by_side(at: float, results: Sequence[Findings]) -> list[tuple[float, Findings]]:
    return [(at + (i - (len(results) - 1) / 2) * 0.7 / len(results), result) for i, result in enumerate(results)]


def _dot(color: str, marker: str) -> Line2D:
    return Line2D([], [], color=color, marker=marker, linestyle="")


def _draw_estimates(axes: Axes, x: float, result: Findings, color: str) -> None:
    for name, marker, shift in (("two_nn", "o", -0.05), ("participation_ratio", "s", 0.05)):
        probe = result.probe("behavior", name)
        if probe is not None and math.isfinite(probe.value):
            axes.hlines(probe.surrogate, x + shift - 0.05, x + shift + 0.05, **_SURROGATE)
            error = 1.96 * probe.error
            axes.errorbar(x + shift, probe.value, error, color=color, fmt=marker, markersize=4.5, capsize=2)


def _draw_dimension(
    axes: Axes, x: float, ends: tuple[float, float, float], largest: float, color: str, marker: str
) -> None:
    """Draw a number of dimensions with its interval, or an arrow from the largest number that was tried and not enough."""
    value, low, high = ends
    size = 7 if marker == "x" else 5
    style: dict[str, Any] = {"marker": marker, "color": color, "markersize": size, "linestyle": ""}
    if math.isfinite(value):
        axes.plot([x, x], [low, min(high, largest)], color=color, linewidth=1.5)
        axes.plot(x, value, **style)
    else:
        arrow: dict[str, Any] = {"arrowstyle": "->", "color": color, "linewidth": 1.5}
        axes.annotate("", (x, largest * 1.5), (x, largest), arrowprops=arrow)
        axes.plot(x, largest * 1.5, linestyle="")  # keeps the arrow in sight
        axes.plot(x, largest, **style, markerfacecolor="white")


def _population(result: Findings) -> _Population:
    return result.group.policy, result.prior


def _probed(results: Sequence[Findings]) -> dict[_Population, Findings]:
    """Return the first result with probes of every population, for behaviors belong to it and not to the runs."""
    found: dict[_Population, Findings] = {}
    for result in results:
        if result.probes:
            found.setdefault(_population(result), result)
    return found


def _looks(results: Sequence[Findings]) -> dict[_Population, tuple[str, str]]:
    """Return label and color of every population; policy size alone where no two share it."""
    found = list(dict.fromkeys(map(_population, results)))
    if len({policy for policy, _ in found}) == len(found):
        return {(p, prior): (f"{p} policies", _COLORS.get(p, look(3 + i).color)) for i, (p, prior) in enumerate(found)}
    is_one_prior = len({prior.removeprefix(_GROWN) for _, prior in found}) == 1
    # Red is the color of surrogates.
    colors = [color for i in range(10) if (color := look(i).color) != RED]
    looks = {}
    for i, (policy, prior) in enumerate(found):
        kind = "grown" if prior.startswith(_GROWN) else "random"
        about = "" if is_one_prior else f", {_source(prior)}"
        looks[policy, prior] = f"{kind} {policy} policies{about}", colors[i % len(colors)]
    return looks


def _label(group: Group) -> str:
    """Return in words whose curve it is: size of the policies, how they were made where that varies, and kind of runs."""
    settings = dict(group.settings)
    made = f"{settings.pop(_RECIPE)} " if _RECIPE in settings else ""
    others = [f"{key.rpartition('.')[2].replace('_', ' ')} {value}" for key, value in settings.items()]
    return ", ".join([f"{made}{group.policy} policies", _kind(group), *others])


def _kind(group: Group) -> str:
    return "separate runs" if group.bottleneck == "plain" else f"{group.bottleneck} latents"


def _priors(priors: Sequence[str]) -> str:
    """Return the distributions of policies in words, those from which some were grown with those that were drawn from them."""
    made: dict[str, dict[str, None]] = {}
    for prior in priors:
        kind = "grown" if prior.startswith(_GROWN) else "random"
        made.setdefault(_source(prior), {})[kind] = None
    first: dict[tuple[str, ...], str] = {
        ("random",): "weights",
        ("grown",): "first weights",
    }  # of both kinds the one and the other
    return "; ".join(
        f"{' and '.join(kinds)} policies: {first.get(tuple(kinds), '(first) weights')} from {source}"
        for source, kinds in made.items()
    )


def _source(prior: str) -> str:
    """Return the distribution of the weights without factors of 1."""
    plain = re.sub(r", (gain|bias) 1(?=,|$)", "", prior.removeprefix(_GROWN))
    return plain.replace(", bias ", ", biases times ")
