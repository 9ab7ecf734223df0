"""Figures of a compression: bytes by format, sparsity by layer, and return against bytes over finished runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from lightning_pz.common.plotting import BLUE, GRAY, GREEN, legend, look, single
from lightning_pz.common.statistics import UNKNOWN, ends_are, read_estimate

_FORMATS = {
    "float32": "dense float32",
    "float16": "dense float16",
    "int8": "dense int8",
    "sparse": "sparse float32",
    "sparse_float16": "sparse float16",
    "sparse_int8": "sparse int8",
    "onnx": "ONNX float32",
    "onnx_int8": "ONNX int8",
}
_PARTS = {"prune": "pruning", "l0": "L0 gates", "low_rank": "low rank", "none": "uncompressed"}


def method_label(method: str) -> str:
    """Return a method in words: `pruning + int8` for `prune+int8`."""
    return " + ".join(_PARTS.get(part, part) for part in method.split("+"))


def bytes_by_format(sizes: Mapping[str, int], title: str) -> Figure:
    """Draw the size of the file in each format, with its ratio to float32.

    Args:
        sizes: Bytes by format; `float32` is the reference.
        title: The environment and method.
    """
    values = list(sizes.values())
    ratios = [f"{_bytes(value)}, {sizes['float32'] / value:.1f} times smaller" for value in values]
    labels = [
        _bytes(value) if value >= sizes["float32"] else ratio for value, ratio in zip(values, ratios, strict=True)
    ]
    figure, axes = _bars({_FORMATS[name]: size for name, size in sizes.items()}, labels, BLUE)
    axes.set(xscale="log", xlabel="size of the file", title=title, xlim=(min(values) / 3, max(values) * 12))
    _label_bytes(axes)
    return figure


def sparsity_by_layer(sparsity: Mapping[str, float], weights: Mapping[str, int], title: str) -> Figure:
    """Draw the share of weights removed from each layer.

    Args:
        sparsity: By layer, 0 to 1.
        weights: Number of weights by layer.
        title: The environment and method.
    """
    names = [f"layer {number}, {weights[name]:,} weights" for number, name in enumerate(sparsity, 1)]
    values = list(sparsity.values())
    figure, axes = _bars(dict(zip(names, values, strict=True)), [f"{value:.1%}" for value in values], GREEN)
    axes.set(xlim=(0, 1.15), xlabel="share of the weights removed", title=title, xticks=[0, 0.25, 0.5, 0.75, 1])
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
    if dense and (found := read_estimate(dense[-1], "return_dense")) is not None:
        label = "uncompressed policy"
        if ends_kind := ends_are({found.kind}):
            axes.axhspan(found.low, found.high, color=GRAY, alpha=0.2, linewidth=0)
            label += f" (band: {ends_kind})"
        axes.axhline(found.value, color=GRAY, linestyle=":", label=label)
        size = dense[-1]["bytes_float32"]
        axes.axvline(size, color=GRAY, linestyle="--", linewidth=0.8, label="its size in float32")
    kinds = set()
    for i, method in enumerate(sorted({run["method"] for run in runs})):
        own = sorted((run for run in runs if run["method"] == method), key=lambda run: run["bytes_file"])
        x = [run["bytes_file"] for run in own]
        estimates = [read_estimate(run, "return") or UNKNOWN for run in own]
        kinds |= {estimate.kind for estimate in estimates}
        value, low, high = np.array([estimate[:3] for estimate in estimates]).T
        lows = np.where(np.isnan(low), value, low)
        axes.errorbar(
            x,
            value,
            yerr=np.nan_to_num([value - low, high - value]),
            label=method_label(method),
            color=look(i).color,
            marker=look(i).marker,
            capsize=2,
            linestyle="none",
            markersize=5,
        )
        # One label for all seeds of a level, under the lowest of their intervals.
        for level in {run["sparsity_target"] for run in own} - {None}:
            places = [(x[j], lows[j]) for j, run in enumerate(own) if run["sparsity_target"] == level]
            place = min(places, key=lambda place: place[1])
            axes.annotate(f"{level:.0%} removed", place, (0, -11), textcoords="offset points", fontsize=8, ha="center")
    bars = ends_are(kinds)
    ylabel = f"return (bars: {bars})" if bars else "return"
    axes.set(xscale="log", xlabel="size of the compressed file", ylabel=ylabel, title=title)
    axes.margins(x=0.15, y=0.15)
    _label_bytes(axes)
    legend(figure, loc="outside lower center", ncols=2)
    return figure


def _bars(values: Mapping[str, float | int], labels: Sequence[str], color: str) -> tuple[Figure, Any]:
    """Draw one horizontal bar per name, the first on top."""
    figure, axes = single(width=5.4, height=0.45 * len(values) + 1.0)
    axes.bar_label(
        axes.barh(list(values), list(values.values()), color=color, height=0.6), labels, padding=4, fontsize=8
    )
    axes.invert_yaxis()
    return figure, axes


def _label_bytes(axes: Any) -> None:
    axes.xaxis.set_major_formatter(FuncFormatter(_bytes))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))


def _bytes(value: float | int | np.number, _: object = None) -> str:
    return f"{value / 1000:,.1f} kB".replace(".0 kB", " kB") if value >= 1000 else f"{value:.0f} B"
