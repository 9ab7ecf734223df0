"""Figures of a compression: bytes by format, sparsity by layer, and return against bytes over finished runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, NullFormatter

from lightning_pz.common.plotting import BLUE, GRAY, GREEN, legend, look, single
from lightning_pz.common.statistics import UNKNOWN, ends_are, read_estimate

_FORMATS = {kind: f"dense {kind}" for kind in ("float32", "float16", "int8", "int4")} | {
    kind: kind.replace("_", " ") for kind in ("sparse_float16", "sparse_int8", "sparse_int4")
}
_FORMATS |= {"sparse": "sparse float32", "onnx": "ONNX float32", "onnx_int8": "ONNX int8", "onnx_int4": "ONNX int4"}
_PARTS = {"prune": "pruning", "l0": "L0 gates", "low_rank": "low rank", "none": "uncompressed"}


def method_label(method: str) -> str:
    """Return a method in words: `pruning + int8` for `prune+int8`."""
    return " + ".join(_PARTS.get(part, part) for part in method.split("+"))


def bytes_by_format(sizes: Mapping[str, int], title: str, rounded: Collection[str] = ()) -> Figure:
    """Draw the size of the file in each format, in bytes, with its ratio to that in `float32`.

    Those of `rounded`, whose weights were rounded after the training, are gray.
    """
    values, size = list(sizes.values()), EngFormatter("B", places=1)
    ratios = [sizes["float32"] / value for value in values]
    labels = [f"{size(v)}, {r:.1f} times smaller" if r > 1 else size(v) for v, r in zip(values, ratios, strict=True)]
    is_rounded = [name.removeprefix("onnx_") in rounded for name in sizes]
    colors = [GRAY if afterwards else BLUE for afterwards in is_rounded]
    figure, axes = _bars({_FORMATS[name]: size for name, size in sizes.items()}, labels, colors)
    label = "size of the file" + " (gray: rounded afterwards, not measured)" * any(is_rounded)
    axes.set(xscale="log", xlabel=label, title=title, xlim=(min(values) / 3, max(values) * 12))
    _in_bytes(axes)
    return figure


def sparsity_by_layer(sparsity: Mapping[str, float], weights: Mapping[str, int], title: str) -> Figure:
    """Draw the share of weights removed from each layer, 0 to 1; the labels say how many weights a layer has."""
    bars = {f"layer {i}, {weights[name]:,} weights": value for i, (name, value) in enumerate(sparsity.items(), 1)}
    figure, axes = _bars(bars, [f"{value:.1%}" for value in bars.values()], GREEN)
    axes.set(xlim=(0, 1.15), xlabel="share of the weights removed", title=title, xticks=[0, 0.25, 0.5, 0.75, 1])
    return figure


def trade_off(runs: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """Draw the return of finished runs in one environment, with its interval, against the bytes of their files."""
    figure, axes = single(width=5.6, height=3.8)
    needs = ("return_dense", "return_dense_low", "return_dense_high")
    dense = [run for run in runs if all(run.get(key) is not None for key in needs)]
    if dense and (found := read_estimate(dense[-1], "return_dense")) is not None:
        label = "uncompressed policy"
        if ends := ends_are({found.kind}):
            axes.axhspan(found.low, found.high, color=GRAY, alpha=0.2, linewidth=0)
            label += f" (band: {ends})"
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
        style: dict[str, Any] = {"color": look(i).color, "marker": look(i).marker, "linestyle": "none", "markersize": 5}
        bars = np.nan_to_num([value - low, high - value])
        axes.errorbar(x, value, yerr=bars, label=method_label(method), capsize=2, **style)
        # One label for all seeds of a level, under the lowest of their intervals.
        for level in {run["sparsity_target"] for run in own} - {None}:
            places = [(x[j], lows[j]) for j, run in enumerate(own) if run["sparsity_target"] == level]
            place = min(places, key=lambda place: place[1])
            axes.annotate(f"{level:.0%} removed", place, (0, -11), textcoords="offset points", fontsize=8, ha="center")
    ylabel = f"return (bars: {ends})" if (ends := ends_are(kinds)) else "return"
    axes.set(xscale="log", xlabel="size of the compressed file", ylabel=ylabel, title=title)
    axes.margins(x=0.15, y=0.15)
    _in_bytes(axes)
    legend(figure, loc="outside lower center", ncols=2)
    return figure


def _bars(values: Mapping[str, float | int], labels: Sequence[str], color: str | list[str]) -> tuple[Figure, Any]:
    """Draw one horizontal bar per name, the first on top."""
    figure, axes = single(width=5.4, height=0.45 * len(values) + 1.0)
    bars = axes.barh(list(values), list(values.values()), color=color, height=0.6)
    axes.bar_label(bars, labels, padding=4, fontsize=8)
    axes.invert_yaxis()
    return figure, axes


def _in_bytes(axes: Any) -> None:
    axes.xaxis.set_major_formatter(EngFormatter("B"))
    axes.xaxis.set_minor_formatter(NullFormatter())
