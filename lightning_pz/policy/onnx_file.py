"""Networks as ONNX files, written node by node: no exporter, no tracing. Needs the extra `onnx`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from lightning_pz.common.checks import check_extra
from lightning_pz.common.files import write_bytes
from lightning_pz.policy.network_plan import NetworkPlan, Tensors, weight_names

_OPSET, _IR_VERSION = 17, 8
"""Old enough for the runtimes of the last years, and all that these networks need."""
_OPSET_INT4, _IR_VERSION_INT4 = 21, 10
"""The first with numbers of 4 bits."""
_LEVELS = 127
Levels = Mapping[str, tuple[Tensor, Tensor]]
"""Levels of weights in int8 and their scales, (1,) or one per output channel, by name."""
HeadOutputs = Callable[["OnnxGraph", str], dict[str, tuple[type, int]]]
"""Adds outputs to a graph from the name of its last layer, and returns their NumPy type and length by name."""


def write_onnx(
    plan: NetworkPlan,
    tensors: Tensors,
    shape: tuple[int, ...],
    path: Path,
    levels: Levels | None = None,
    head: HeadOutputs | None = None,
    *,
    bits: int = 8,
) -> int:
    """Write the network of a plan, whose last weight belongs to its last layer, and return the file's size in bytes.

    The input is `observation` (batch, *shape), the output `action` (batch, A), float32, or what a head makes of the plan's.
    `levels` are stored in the place of float32 weights, if given, in 8 or 4 `bits`. With 4 the file is of opset 21, and a
    layer whose input is rounded keeps its levels in int8, for which runtimes have integer kernels. Raises `UserError` without
    package `onnx`.
    """
    check_extra("onnx", "onnx", "an ONNX file")
    import onnx
    from onnx import helper

    graph = OnnxGraph(tensors, levels, bits)
    last = graph.add(plan, "observation")
    if head is None:
        graph.node("Identity", [last], output="action")
        outputs: dict[str, tuple[type, int]] = {"action": (np.float32, len(tensors[weight_names(plan)[-1]]))}
    else:
        outputs = head(graph, last)

    def value(name: str, dtype: type, *sizes: int) -> Any:
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), ["batch", *sizes])

    ends = [value(name, dtype, size) for name, (dtype, size) in outputs.items()]
    whole = helper.make_graph(graph.nodes, "policy", [value("observation", np.float32, *shape)], ends, graph.constants)
    narrow = any(constant.data_type == onnx.TensorProto.INT4 for constant in graph.constants)
    opset, ir_version = (_OPSET_INT4, _IR_VERSION_INT4) if narrow else (_OPSET, _IR_VERSION)
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", opset)], producer_name="lightning_pz")
    model.ir_version = ir_version
    onnx.checker.check_model(model)
    write_bytes(path, model.SerializeToString())
    return path.stat().st_size


class OnnxGraph:
    """Nodes and constants of a graph under construction. Each method adds some and returns the name of its output."""

    def __init__(self, tensors: Tensors, levels: Levels | None, bits: int = 8) -> None:
        self.tensors, self.levels, self.bits = tensors, levels, bits
        self.nodes, self.constants = list[Any](), list[Any]()
        self.rounded = set[str]()  # outputs that are int8 levels, dequantized

    def node(self, kind: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        from onnx import helper

        output = output or f"x{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def tensor(self, name: str) -> str:
        return self.constant(self.tensors[name].numpy())

    def weight(self, name: str, *, integer: bool = False) -> str:
        """Add a weight, as levels if there are some; its output is float32. With `integer` levels are int8 at any bits."""
        from onnx import TensorProto, helper

        if self.levels is None:
            return self.tensor(name)
        levels, scales = (part.numpy() for part in self.levels[name])
        more: dict[str, Any] = {"axis": 0} if len(scales) > 1 else {}
        scale = scales if more else scales[0]
        packed = self.bits == 4 and not integer
        kind = helper.tensor_dtype_to_np_dtype(TensorProto.INT4 if packed else TensorProto.INT8)
        inputs = [self.constant(levels, kind), self.constant(scale), self.constant(np.zeros_like(scale), kind)]
        return self.node("DequantizeLinear", inputs, **more)

    def add(self, plan: NetworkPlan, x: str) -> str:
        return functools.reduce(self._add, plan, x)

    def _add(self, x: str, step: dict[str, Any]) -> str:
        match step["kind"]:
            case kind if kind == "identity" or (kind == "round" and not step["on"]):
                return x
            case "silu":
                return self.node("Mul", [x, self.node("Sigmoid", [x])])
            case "relu" | "tanh" | "flatten" as kind:
                return self.node(kind.capitalize(), [x])
            case "sequential":
                return self.add(step["body"], x)
            case "residual":
                return self.node("Add", [x, self.add(step["body"], x)])
            case "divide":
                return self.node("Div", [x, self.constant(step["by"])])
            case "standardize":
                return self.node("Div", [self.node("Sub", [x, self.tensor(step["mean"])]), self.tensor(step["std"])])
            case "maxpool":
                size, stride, padding = ([s] * 2 if isinstance(s, int) else list(s) for s in step["sizes"])
                return self.node("MaxPool", [x], kernel_shape=size, strides=stride, pads=padding * 2)
            case "box":
                return self._box(step, x)
            case "round":
                largest = step["largest"]
                x = self.node("Clip", [x, self.constant(-largest), self.constant(largest)])
                scale, zero = self.constant(largest / _LEVELS), self.constant(0, np.int8)
                rounded = self.node("DequantizeLinear", [self.node("QuantizeLinear", [x, scale, zero]), scale, zero])
                self.rounded.add(rounded)
                return rounded
        if step["kind"] == "linear" and x in self.rounded and self.levels is not None:
            # Without its bias, which has no levels, runtimes make one product of int8 and int32 sums of it.
            x = self.node("Gemm", [x, self.weight(step["weight"], integer=True)], transB=1)
            return self.node("Add", [x, self.tensor(step["bias"])]) if step["bias"] else x
        inputs = [x, self.weight(step["weight"])] + ([self.tensor(step["bias"])] if step["bias"] else [])
        if step["kind"] == "linear":
            return self.node("Gemm", inputs, transB=1)
        return self.node("Conv", inputs, strides=step["stride"], pads=step["padding"] * 2)

    def _box(self, step: dict[str, Any], x: str) -> str:
        low, high = self.tensors[step["low"]].numpy(), self.tensors[step["high"]].numpy()
        if step["squash"] == "tanh":
            x = self.node("Add", [self.node("Tanh", [x]), self.constant(np.ones(1))])
            x = self.node("Mul", [x, self.constant(0.5 * (high - low))])
            x = self.node("Add", [x, self.constant(low)])
        # Rounding may leave the box by a hair. Clip takes scalars only, hence minimum and maximum.
        return self.node("Min", [self.node("Max", [x, self.constant(low)]), self.constant(high)])
