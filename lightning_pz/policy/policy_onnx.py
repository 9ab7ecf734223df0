"""A saved policy as an ONNX file, with the distribution of its action beside the action."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lightning_pz.policy.onnx_file import HeadOutputs, OnnxGraph, write_onnx
from lightning_pz.policy.saved import SavedPolicy


def write_policy_onnx(policy: SavedPolicy, path: Path) -> int:
    """Write a policy and return the file's size in bytes; `UserError` without the package `onnx`.

    The input is `observation` (batch, O), raw. Outputs, (batch, ...): `action` (A), without noise, float32, or int64 where it
    is chosen; of a gaussian head `mean` and `std` (A) in units of the action; of a categorical one `logits` and
    `probabilities`, one for each choice of every factor.
    """
    ends: dict[str, HeadOutputs] = {
        "gaussian": lambda graph, x: _gaussian(policy, graph, x),
        "categorical": lambda graph, x: _categorical(policy, graph, x),
    }
    shape, head = (policy.layout.observation_size,), policy.layout.head
    plan, tensors = policy.plan() if head.kind == "tanh" else policy.last_layer()
    return write_onnx(plan, tensors, shape, path, head=ends.get(head.kind))


def _gaussian(policy: SavedPolicy, graph: OnnxGraph, x: str) -> dict[str, tuple[type, int]]:
    size, half = policy.layout.action_size, (policy.action_high - policy.action_low).numpy() / 2
    raw_mean, raw_std = _split(graph, x, [size, size])
    box = {"kind": "box", "squash": "tanh", "low": "action_low", "high": "action_high"}
    graph.node("Identity", [graph.add([box], raw_mean)], output="mean")
    graph.node("Identity", ["mean"], output="action")
    scale = graph.constant(2 * policy.layout.head.initial_std * half)
    graph.node("Mul", [graph.node("Sigmoid", [raw_std]), scale], output="std")
    return dict.fromkeys(("action", "mean", "std"), (np.float32, size))


def _categorical(policy: SavedPolicy, graph: OnnxGraph, x: str) -> dict[str, tuple[type, int]]:
    head = policy.layout.head
    graph.node("Identity", [graph.node("Div", [x, graph.constant(head.temperature)])], output="logits")
    factors = _split(graph, "logits", list(head.choices))
    graph.node("Concat", [graph.node("Softmax", [part], axis=-1) for part in factors], output="probabilities", axis=-1)
    numbers = [graph.node("ArgMax", [part], axis=-1, keepdims=1) for part in factors]
    chosen = graph.node("Concat", numbers, axis=-1)
    graph.node("Add", [chosen, graph.constant(policy.action_low.numpy(), np.int64)], output="action")
    count = policy.layout.feature_size
    return {
        "action": (np.int64, policy.layout.action_size), "logits": (np.float32, count), "probabilities": (np.float32, count),
    }  # fmt: skip


def _split(graph: OnnxGraph, x: str, sizes: list[int]) -> list[str]:
    """Cut the last axis into parts of these lengths; return their names."""
    ends = np.cumsum(sizes)
    cuts = [(end - size, end) for end, size in zip(ends, sizes, strict=True)]
    slices = ([graph.constant([number], np.int64) for number in (first, last, -1)] for first, last in cuts)
    return [graph.node("Slice", [x, *places]) for places in slices]
