"""A policy as an ONNX file: raw observations in, actions inside the box out. Needs the extra `onnx`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lightning_pz.common.checks import check_extra
from lightning_pz.common.files import write_bytes
from lightning_pz.policy.saved import SavedPolicy

_OPSET, _IR_VERSION = 17, 8
"""Old enough for the runtimes of the last years, and all that an MLP needs."""


def write_onnx(policy: SavedPolicy, path: Path) -> None:
    """Write the graph: `observation` (batch, O) float32 to `action` (batch, A) float32.

    It is built node by node, so that no exporter and no tracing stand between the weights and the file.

    Raises:
        UserError: The package `onnx` is not installed.
    """
    check_extra("onnx", "onnx", "an ONNX file")
    import onnx
    from onnx import helper, numpy_helper

    nodes, constants = [], []

    def constant(name: str, value: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value, dtype=np.float32), name))
        return name

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    x = node("Sub", ["observation", constant("observation_mean", policy.observation_mean.numpy())], "centered")
    x = node("Div", [x, constant("observation_std", policy.observation_std.numpy())], "standardized")
    layers = policy.layout.unpack(policy.params[None])
    for number, (weight, bias) in enumerate(layers):
        names = [constant(f"weight_{number}", weight[0].numpy()), constant(f"bias_{number}", bias[0].numpy())]
        x = node("Gemm", [x, *names], f"layer_{number}", transB=1)
        if number < len(layers) - 1:
            x = _activate(node, policy.layout.activation, x, f"hidden_{number}")
    low, high = policy.action_low.numpy(), policy.action_high.numpy()
    if policy.squash == "tanh":
        x = node("Tanh", [x], "squashed")
        x = node("Add", [x, constant("one", np.ones(1))], "shifted")
        x = node("Mul", [x, constant("half_range", 0.5 * (high - low))], "scaled")
        x = node("Add", [x, constant("action_low", low)], "placed")
    else:
        constant("action_low", low)
    # Rounding may leave the box by a hair. Clip takes scalars only, hence minimum and maximum.
    x = node("Max", [x, "action_low"], "above")
    node("Min", [x, constant("action_high", high)], "action")
    sizes = (("observation", policy.layout.observation_size), ("action", policy.layout.action_size))
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", size]) for name, size in sizes]
    graph = helper.make_graph(nodes, "policy", ends[:1], ends[1:], constants)
    save_graph(graph, path)


def save_graph(graph: Any, path: Path) -> None:
    """Check an ONNX graph and write it as a model, whole or not at all."""
    import onnx
    from onnx import helper

    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], producer_name="lightning_pz")
    model.ir_version = _IR_VERSION
    onnx.checker.check_model(model)
    write_bytes(path, model.SerializeToString())


def _activate(node: Callable[..., str], activation: str, x: str, name: str) -> str:
    """Add a hidden activation and return the name of its output."""
    if activation == "linear":
        return x
    if activation == "silu":
        return node("Mul", [x, node("Sigmoid", [x], f"{name}_gate")], name)
    return node({"tanh": "Tanh", "relu": "Relu"}[activation], [x], name)
