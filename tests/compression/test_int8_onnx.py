"""An ONNX file of levels: integer kernels where activations are rounded too, and the numbers of the file it was made from."""

import collections

import numpy as np
import onnx
import onnxruntime
import pytest
from torch import nn

from lightning_pz.compression.formats.exports import ONNX_FILES, write_exports
from lightning_pz.compression.formats.network_file import read_stored, write_network
from lightning_pz.compression.formats.reference_forward import reference_forward
from lightning_pz.policy.network_plan import weight_names
from tests.compression.test_c_header import make_network, observations


def onnx_outputs(path, seen, kept):
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(kept), 3
    session = onnxruntime.InferenceSession(path, options)
    return session.run(None, {"observation": seen})


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize(("activation", "bits"), [("relu", 8), ("tanh", 8), ("silu", 8), ("relu", 4), ("tanh", 4)])
def test_integer_kernels_give_the_levels_of_the_file(activation, bits, per_channel, tmp_path):
    network, form = make_network(activation, 0.5, "tanh", True, per_channel, bits), f"sparse_int{bits}"
    write_network(network, tmp_path / "policy.lpz", form, per_channel=per_channel)
    write_exports(tmp_path, ["onnx"], (5,), choices=False)
    path, seen = tmp_path / ONNX_FILES[f"onnx_int{bits}"], observations(10_000)
    # The levels between layers, which are outputs of `QuantizeLinear`, as outputs of the graph.
    model = onnx.load(path)
    rounded = [node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    (got,) = onnx_outputs(path, seen, tmp_path / "run.onnx")
    kinds = collections.Counter(node.op_type for node in onnx.load(tmp_path / "run.onnx").graph.node)
    assert kinds["QGemm"] == 2 and kinds["Gemm"] + kinds["FusedGemm"] == 1  # the first layer takes floats
    for name in rounded:
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT8, ["batch", None]))
    onnx.save(model, tmp_path / "more.onnx")
    _, *levels = onnx_outputs(tmp_path / "more.onnx", seen, tmp_path / "more_run.onnx")

    same = np.ones(len(seen), bool)
    for number, found in zip((3, 5), levels, strict=True):
        part = nn.Sequential(*network[: number + 1])
        write_network(part, tmp_path / "part.lpz", form, per_channel=per_channel)
        step = float(network[number][1].largest) / 127
        wanted = np.rint(reference_forward(tmp_path / "part.lpz", seen) / step)
        off = np.abs(found - wanted)
        # Where all levels before it are the same, a level is the same, or its neighbor's if it lies between the two.
        assert off[same].max() <= 1 and (off == 0).mean() > 0.999
        same &= (off == 0).all(1)
    wanted = reference_forward(tmp_path / "policy.lpz", seen)
    assert same.mean() > 0.95 and np.abs(got - wanted)[same].max() <= 1e-6 and np.abs(got - wanted).max() < 0.1


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("activation", ["relu", "tanh", "silu"])
def test_weights_of_4_bits_stay_4_bits_in_a_file_that_runs(activation, per_channel, tmp_path):
    sizes, seen = {}, observations(10_000)
    for bits in (8, 4):
        network = make_network(activation, 0.5, "tanh", per_channel=per_channel, bits=bits, wide=201)
        write_network(network, tmp_path / "policy.lpz", f"sparse_int{bits}", per_channel=per_channel)
        values = write_exports(tmp_path, ["onnx"], (5,), choices=False)
        sizes[bits] = values[f"bytes_onnx_int{bits}"]
        (tmp_path / ONNX_FILES["onnx"]).unlink()
    path = tmp_path / ONNX_FILES["onnx_int4"]
    model = onnx.load(path)
    assert sizes[4] == path.stat().st_size
    weights = [c for c in model.graph.initializer if c.data_type == onnx.TensorProto.INT4 and len(c.dims) == 2]
    stored = read_stored(tmp_path / "policy.lpz")
    for weight, name in zip(weights, weight_names(stored.plan), strict=True):
        assert np.array_equal(onnx.numpy_helper.to_array(weight).astype(np.int8), stored.numbers[name])
    assert sizes[8] - sizes[4] >= (5 * 24 + 24 * 201 + 201 * 3) // 2
    (got,) = onnx_outputs(path, seen, tmp_path / "run.onnx")
    wanted = reference_forward(tmp_path / "policy.lpz", seen)
    assert np.abs(got - wanted).max() <= 1e-5  # of outputs up to 2; sums of up to 201 products go in another order
