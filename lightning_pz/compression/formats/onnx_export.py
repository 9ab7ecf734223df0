"""A compressed policy as an ONNX file, float or int8: raw observations in, actions or scores out. Needs the extra `onnx`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lightning_pz.common.checks import check_extra
from lightning_pz.compression.methods.quantize import LEVELS, to_int8
from lightning_pz.compression.network import Plan, Tensors, to_plan
from lightning_pz.policy.onnx_file import save_graph

"""Old enough for the runtimes of the last years, and all that these networks need."""


def write_onnx(network: nn.Sequential, shape: tuple[int, ...], path: Path, *, int8: bool) -> int:
    """Write the graph, node by node, and return the size of the file in bytes.

    Args:
        network: The policy.
        shape: Of one observation; the input `observation` is (batch, *shape) float32.
        path: The file.
        int8: Whether weights are stored as int8 levels with their scales, and rounded activations as such.

    Raises:
        UserError: The package `onnx` is not installed.
    """
    check_extra("onnx", "onnx", "an ONNX file")
    import onnx
    from onnx import helper

    with torch.no_grad():
        size = network(torch.zeros(1, *shape)).shape[1]
    plan, tensors = to_plan(network)
    graph = _Graph(tensors, int8)
    graph.node("Identity", [graph.add(plan, "observation")], output="action")
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", *rest])
        for name, rest in (("observation", shape), ("action", (size,)))
    ]
    save_graph(helper.make_graph(graph.nodes, "policy", ends[:1], ends[1:], graph.constants), path)
    return path.stat().st_size


class _Graph:
    """Nodes and constants of a graph under construction."""

    def __init__(self, tensors: Tensors, int8: bool) -> None:
        self.tensors, self.int8 = tensors, int8
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def node(self, kind: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        from onnx import helper

        output = output or f"x{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """Add a constant and return its name."""
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def add(self, plan: Plan, x: str) -> str:
        """Add what a plan describes behind x, and return the name of the end."""
        for step in plan:
            x = self._add(step, x)
        return x

    def _add(self, step: dict[str, Any], x: str) -> str:
        kind = step["kind"]
        if kind == "identity":
            return x
        if kind == "silu":
            return self.node("Mul", [x, self.node("Sigmoid", [x])])
        if kind in ("relu", "tanh", "flatten"):
            return self.node(kind.capitalize(), [x])
        if kind == "sequential":
            return self.add(step["body"], x)
        if kind == "residual":
            return self.node("Add", [x, self.add(step["body"], x)])
        if kind == "divide":
            return self.node("Div", [x, self.constant(step["by"])])
        if kind == "standardize":
            x = self.node("Sub", [x, self._tensor(step["mean"])])
            return self.node("Div", [x, self._tensor(step["std"])])
        if kind == "maxpool":
            size, stride, padding = ([s] * 2 if isinstance(s, int) else list(s) for s in step["sizes"])
            return self.node("MaxPool", [x], kernel_shape=size, strides=stride, pads=padding * 2)
        if kind == "box":
            return self._box(step, x)
        if kind == "round":
            return self._round(step, x) if step["on"] else x
        inputs = [x, self._weight(step["weight"])] + ([self._tensor(step["bias"])] if step["bias"] else [])
        if kind == "linear":
            return self.node("Gemm", inputs, transB=1)
        return self.node("Conv", inputs, strides=step["stride"], pads=step["padding"] * 2)

    def _tensor(self, name: str) -> str:
        return self.constant(self.tensors[name].numpy())

    def _weight(self, name: str) -> str:
        if not self.int8:
            return self._tensor(name)
        levels, scale = to_int8(self.tensors[name])
        scales = scale.numpy() if len(scale) > 1 else scale.numpy()[0]
        inputs = [self.constant(levels.numpy(), np.int8), self.constant(scales)]
        return (
            self.node("DequantizeLinear", inputs, axis=0) if len(scale) > 1 else self.node("DequantizeLinear", inputs)
        )

    def _round(self, step: dict[str, Any], x: str) -> str:
        largest = step["largest"]
        x = self.node("Clip", [x, self.constant(-largest), self.constant(largest)])
        scale, zero = self.constant(largest / LEVELS), self.constant(0, np.int8)
        return self.node("DequantizeLinear", [self.node("QuantizeLinear", [x, scale, zero]), scale, zero])

    def _box(self, step: dict[str, Any], x: str) -> str:
        low, high = self.tensors[step["low"]].numpy(), self.tensors[step["high"]].numpy()
        if step["squash"] == "tanh":
            x = self.node("Add", [self.node("Tanh", [x]), self.constant(np.ones(1))])
            x = self.node("Mul", [x, self.constant(0.5 * (high - low))])
            x = self.node("Add", [x, self.constant(low)])
        # Rounding may leave the box by a hair. Clip takes scalars only, hence minimum and maximum.
        return self.node("Min", [self.node("Max", [x, self.constant(low)]), self.constant(high)])
