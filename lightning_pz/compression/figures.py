"""Figures of a compression: bytes by format, sparsity by layer, and return against bytes over finished runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from lightning_pz.common.plotting import BLUE, GRAY, GREEN, legend, look, single
from lightning_pz.common.statistics import UNKNOWN, ends_are, read_estimate


def _bytes(value: float | int | np.number, _: object = None) -> str:
    return f"{value / 1000:,.1f} kB".replace(".0 kB", " kB") if value >= 1000 else f"{value:.0f} B"


def bytes_by_format(sizes: Mapping[str, int], title: str) -> Figure:
    """Draw the size of the file in each format, with how many times smaller than float32 it is.

    Args:
        sizes: Bytes by format; `float32` is the reference.
        title: What was compressed.
    """
    figure, axes = single(width=5.4, height=0.45 * len(sizes) + 1.0)
    names, values = list(sizes), list(sizes.values())
    bars = axes.barh(names, values, color=BLUE, height=0.6)
    labels = [f"{_bytes(value)}   {sizes['float32'] / value:.1f} x" for value in values]
    axes.bar_label(bars, labels, padding=4, fontsize=8)
    axes.set(xscale="log", xlabel="file size", title=title, xlim=(min(values) / 3, max(values) * 6))
    axes.xaxis.set_major_formatter(FuncFormatter(_bytes))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    axes.invert_yaxis()
    return figure


def sparsity_by_layer(sparsity: Mapping[str, float], weights: Mapping[str, int], title: str) -> Figure:
    """Draw the share of zeros in each layer.

    Args:
        sparsity: By layer, 0 to 1.
        weights: Number of weights by layer.
        title: What was compressed.
    """
    figure, axes = single(width=5.4, height=0.45 * len(sparsity) + 1.0)
    names = [f"layer {name}: {weights[name]:,} weights" for name in sparsity]
    bars = axes.barh(names, list(sparsity.values()), color=GREEN, height=0.6)
    axes.bar_label(bars, [f"{value:.1%}" for value in sparsity.values()], padding=4, fontsize=8)
    axes.set(xlim=(0, 1.15), xlabel="share of zeros", title=title)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.invert_yaxis()
    return figure


def trade_off(runs: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """Draw the return of finished runs, with its interval, against the bytes of their files.

    Args:
        runs: Summaries of runs in one environment.
        title: The environment.
    """
    figure, axes = single(width=5.6, height=3.8)
    ends = ("return_dense", "return_dense_low", "return_dense_high")
    dense = [run for run in runs if all(run.get(key) is not None for key in ends)]
    if dense:
        last = dense[-1]
        found = read_estimate(last, "return_dense")
        assert found is not None
        told = ends_are({found.kind})
        if told:
            axes.axhspan(found.low, found.high, color=GRAY, alpha=0.2, linewidth=0)
        label = "dense policy" + (f" (band: {told})" if told else "")
        axes.axhline(found.value, color=GRAY, linestyle=":", label=label)
        axes.axvline(last["bytes_float32"], color=GRAY, linestyle="--", linewidth=0.8, label="its float32 file")
    kinds = set()
    for i, method in enumerate(sorted({run["method"] for run in runs})):
        own = sorted((run for run in runs if run["method"] == method), key=lambda run: run["bytes_file"])
        x = [run["bytes_file"] for run in own]
        told_of = [read_estimate(run, "return") or UNKNOWN for run in own]
        kinds |= {found.kind for found in told_of}
        value, low, high = np.array([found[:3] for found in told_of]).T
        lows = np.where(np.isnan(low), value, low)
        axes.errorbar(
            x, value, yerr=np.nan_to_num([value - low, high - value]), label=method, color=look(i).color, marker=look(i).marker,
            capsize=2, linestyle="none", markersize=5,
        )  # fmt: skip
        # One label for all seeds of a level, under the lowest of their intervals.
        for level in {run["sparsity_target"] for run in own} - {None}:
            places = [(x[j], lows[j]) for j, run in enumerate(own) if run["sparsity_target"] == level]
            place = min(places, key=lambda place: place[1])
            axes.annotate(f"{level:.0%}", place, (0, -11), textcoords="offset points", fontsize=8, ha="center")
    axes.set(xscale="log", xlabel="file size, indices included", ylabel="return", title=title)
    if told := ends_are(kinds):
        axes.set_ylabel(f"return (bars: {told})")
    axes.margins(y=0.15)
    axes.xaxis.set_major_formatter(FuncFormatter(_bytes))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    handles, labels = axes.get_legend_handles_labels()
    legend(figure, handles, labels, loc="outside lower center", ncols=3)
    return figure
