"""Weights of 4 bits: two levels to a byte, files of their own version, and the whole command."""

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy
from torch import nn

from lightning_pz.common.errors import UserError
from lightning_pz.compression.compressor import Compressor
from lightning_pz.compression.formats import narrow, network_file
from lightning_pz.compression.formats.network_file import read_network, read_stored, write_network
from lightning_pz.compression.formats.reference_forward import reference_forward
from lightning_pz.compression.measures import outputs
from lightning_pz.compression.methods.quantize import to_levels
from lightning_pz.compression.methods.stack import layers_of
from lightning_pz.compression.part_settings import Int4Settings, LowRankSettings
from lightning_pz.compression.settings import CompressSettings
from tests.compression.conftest import run
from tests.compression.test_c_header import compile_and_run, make_network, observations
from tests.compression.test_network_file import prune


@given(st.lists(st.integers(-7, 7), max_size=50))
def test_levels_of_4_bits_are_two_to_a_byte(levels):
    packed = narrow.pack(np.array(levels, np.int8))
    assert len(packed) == -(-len(levels) // 2)
    assert [int(byte) >> 4 * (place % 2) & 15 for place, byte in enumerate(np.repeat(packed, 2))][: len(levels)] == [
        level + 8 for level in levels
    ]
    assert narrow.unpack(packed, len(levels)).tolist() == levels
    with pytest.raises(ValueError, match=f"expected {len(packed) + 1} bytes of {2 * len(packed) + 1} levels"):
        narrow.unpack(packed, 2 * len(packed) + 1)


@pytest.mark.parametrize("per_channel", [False, True])
def test_four_bits_take_what_their_levels_and_places_are_worth(per_channel, tmp_path):
    torch.manual_seed(0)
    network = prune(nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 8)), 0.9, 4, per_channel)
    size = write_network(network, tmp_path / "x.lpz", "sparse_int4", per_channel=per_channel)
    least = 4 * (256 + 8) + 2 * (264 if per_channel else 2)
    for layer in layers_of(network).values():
        levels = to_levels(layer.weight.detach(), 4, per_channel=per_channel)[0].numpy().ravel()
        for symbols in (levels != 0, levels[levels != 0]):
            least += symbols.size * entropy(np.unique(symbols, return_counts=True)[1], base=2) / 8
    assert least < size < 1.1 * least + 300
    wide = write_network(network, tmp_path / "y.lpz", "sparse_int8", per_channel=per_channel)
    assert size < wide
    stored = read_stored(tmp_path / "x.lpz")
    assert stored.bits == 4 and torch.equal(read_network(tmp_path / "x.lpz")[0][0].weight, network[0].weight)


def test_a_reader_that_knows_no_four_bits_asks_for_an_update(tmp_path, monkeypatch):
    for form in ("int8", "sparse_int4"):
        write_network(make_network(), tmp_path / form, form)
    monkeypatch.setattr(network_file, "_VERSION", 1)
    assert read_network(tmp_path / "int8")[1]["format"] == "int8"
    with pytest.raises(UserError, match="has format 2, and this version reads 1: update lightning_pz"):
        read_network(tmp_path / "sparse_int4")


@pytest.mark.parametrize("activations", ["false", "true"])
def test_weights_of_4_bits_go_through_the_whole_command(activations, write_policy, point_mass, tmp_path, capsys):
    command = ["--env", point_mass(limit=10), "--policy", write_policy(), "--method", "prune+int4", "--sparsity", 0.5]
    more = ["--activations", activations, "--format", "c,onnx,lpz", "--logs", tmp_path / "logs"]
    folder, summary = run(capsys, *command, *more)
    path = folder / "policy.lpz"
    assert folder.name == "distill-prune-int4-0.5-seed0" and summary["sparsity"] == pytest.approx(0.5, abs=1e-3)
    assert summary["format"] == "sparse_int4" and summary["bytes_file"] == summary["bytes_sparse_int4"]
    assert summary["bytes_sparse_int4"] < summary["bytes_sparse_int8"]
    assert summary["file_ratio"] == pytest.approx(summary["bytes_float32"] / path.stat().st_size)
    assert summary["paper_ratio"] == pytest.approx(8 / (1 - summary["zeros"]))
    assert summary["bytes_onnx_int4"] == (folder / "policy_int4.onnx").stat().st_size
    assert "bytes_onnx_int8" not in summary and summary["latency_us_onnx_int4"] > 0 and summary["c_flash_bytes"] > 0
    # Each output channel of every layer uses its 15 levels, up to the largest.
    stored = read_stored(path)
    for name, (levels, scale) in stored.levels().items():
        assert len(scale) == len(levels) == len(stored.numbers[name])
        assert set(levels.abs().amax(1).tolist()) <= {0, 7}
    seen = observations(500, 3)
    wanted = reference_forward(path, seen)
    assert np.array_equal(compile_and_run(folder, seen), wanted)
    tolerance = 0.1 if activations == "true" else 1e-5  # a number between two levels may be rounded to either
    assert np.abs(outputs(read_network(path)[0], torch.from_numpy(seen)).numpy() - wanted).max() < tolerance
    (actions,) = onnxruntime.InferenceSession(folder / "policy_int4.onnx").run(None, {"observation": seen})
    assert np.abs(actions - wanted).max() < tolerance


@pytest.mark.parametrize(
    "method, more", [("low_rank+int8", {}), ("low_rank+int4", {"int4": Int4Settings(per_channel=False)})]
)
def test_a_factorized_convolution_is_in_the_file_as_it_was_trained(method, more, tmp_path):
    """Its factors become convolutions, whose weights files keep by a scale per channel."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5))
    settings = CompressSettings(method=method, steps=10, low_rank=LowRankSettings(rank=2), **more)
    compressor = Compressor(network, settings, 0.01)
    compressor.advance(settings.total_steps())
    _, final = compressor.finished()
    write_network(
        final, tmp_path / "policy.lpz", f"sparse_int{settings.bits}", per_channel=settings.per_channel(settings.bits)
    )
    images = torch.rand(20, 3, 8, 8)
    assert torch.allclose(outputs(read_network(tmp_path / "policy.lpz")[0], images), outputs(final, images), atol=1e-6)
