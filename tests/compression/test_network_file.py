"""What is written comes back, a fresh process can run it, and the sizes are those of the files."""

import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.stats import entropy
from torch import nn

from lightning_pz.common.errors import UserError
from lightning_pz.compression.formats.codecs import SPARSE, decode, encode
from lightning_pz.compression.formats.network_file import FORMATS, read_network, write_network
from lightning_pz.compression.measures import paper_ratio, sparsity
from lightning_pz.compression.methods.low_rank import split_low_rank, truncate
from lightning_pz.compression.methods.quantize import ActivationInt8, fake_levels, to_levels
from lightning_pz.compression.methods.stack import layers_of, magnitude_mask
from lightning_pz.compression.modules import Divide, Residual, Standardize, ToBox, copy_of, from_plan, to_plan
from lightning_pz.policy.network_plan import weight_names
from lightning_pz.policy.onnx_file import write_onnx
from tests.compression.conftest import zeros


@pytest.fixture
def mlp():
    torch.manual_seed(0)
    box = ToBox(torch.tensor([-2.0, -1.0]), torch.tensor([1.0, 1.0]), "tanh")
    body = [nn.Linear(5, 24), nn.ReLU(), nn.Linear(24, 20), nn.SiLU(), nn.Linear(20, 2)]
    return nn.Sequential(Standardize(torch.randn(5), torch.rand(5) + 0.5), *body, box)


@pytest.fixture
def cnn():
    torch.manual_seed(0)
    block = Residual(nn.Sequential(nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)))
    convs = [nn.Conv2d(4, 8, 4, stride=2), nn.MaxPool2d(3, 2, 1), block, nn.ReLU(), nn.Flatten()]
    return nn.Sequential(Divide(255.0), *convs, nn.Sequential(nn.Linear(128, 16), nn.ReLU()), nn.Linear(16, 3))


SHAPES = {"mlp": (5,), "cnn": (4, 16, 16)}


def observations(name, count=7):
    torch.manual_seed(1)
    return torch.randn(count, 5) if name == "mlp" else torch.randint(0, 256, (count, 4, 16, 16)).float()


@torch.no_grad()
def prune(network, share=0.9, bits=8, per_channel=False):
    for layer in layers_of(network).values():
        weight = layer.weight
        mask = magnitude_mask(
            weight, torch.ones_like(weight, dtype=torch.bool), max(1, int((1 - share) * weight.numel()))
        )
        weight.mul_(mask)
        if bits:
            weight.copy_(fake_levels(weight, bits, per_channel=per_channel))
    return network


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 700),
    st.floats(0, 1),
    st.sampled_from([("i1", False), ("<f2", False), ("<f4", False), ("i1", True)]),
    st.integers(0, 9999),
)
def test_every_codec_gives_back_every_matrix(rows, columns, density, kind, seed):
    (dtype, packed), random = kind, np.random.default_rng(seed)
    most = 7 if packed else 127
    numbers = random.integers(-most, most + 1, (rows, columns))
    matrix = (numbers * (random.random((rows, columns)) < density)).astype(dtype)
    for codec in ("dense", *SPARSE):
        content = encode(matrix, codec, packed=packed)
        assert np.array_equal(decode(content, codec, matrix.shape, np.dtype(dtype), packed=packed), matrix)


def test_sizes_of_codecs_are_what_theory_says():
    random = np.random.default_rng(0)
    matrix = (random.integers(1, 128, (256, 256)) * (random.random((256, 256)) < 0.05)).astype(np.int8)
    found = csr_array(matrix)
    assert len(encode(matrix, "csr")) == 257 * 4 + found.nnz * 2 + found.nnz  # 256 columns need two bytes
    assert len(encode(matrix, "bitmap")) == 256 * 256 // 8 + found.nnz
    density = found.nnz / matrix.size
    places = entropy([density, 1 - density], base=2) * matrix.size / 8
    levels = np.sign(matrix)
    assert len(encode(levels, "dense", packed=True)) == 256 * 256 // 2
    assert len(encode(levels, "csr", packed=True)) == 257 * 4 + found.nnz * 2 + -(-found.nnz // 2)
    assert len(encode(levels, "bitmap", packed=True)) == 256 * 256 // 8 + -(-found.nnz // 2)
    # The places near their entropy; the values are uniform on 127 levels, 7 bits each.
    assert places + found.nnz * 6.9 / 8 <= len(encode(matrix, "entropy")) <= 1.1 * (places + found.nnz)


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_a_plan_builds_the_same_network(name, request):
    network = request.getfixturevalue(name)
    twin = from_plan(*to_plan(network))
    x = observations(name)
    assert torch.equal(twin(x), network(x))
    twin[-2 if name == "mlp" else -1].weight.data.zero_()
    assert not torch.equal(twin(x), network(x))


@pytest.mark.parametrize("name", ["mlp", "cnn"])
@pytest.mark.parametrize("form", FORMATS)
def test_files_hold_the_network(name, form, request, tmp_path):
    network = prune(request.getfixturevalue(name), bits=4 if "int4" in form else 8 if "int8" in form else None)
    path = tmp_path / "x.lpz"
    size = write_network(network, path, form, {"note": 3})
    assert path.read_bytes()[4] == (2 if "int4" in form else 1)
    found, meta = read_network(path)
    assert size == path.stat().st_size and meta == {"note": 3, "format": form}
    tolerance = 2e-3 if "16" in form else 1e-6
    x = observations(name)
    assert (found(x) - network(x)).abs().max() <= tolerance * network(x).abs().max()
    if form in ("float32", "sparse"):
        assert torch.equal(found(x), network(x))
    # Zeros stay zeros, and writing once more changes nothing.
    assert zeros(found) == zeros(network)
    write_network(found, tmp_path / "y.lpz", form, {"note": 3})
    assert torch.equal(read_network(tmp_path / "y.lpz")[0](x), found(x))


def test_a_sparse_file_is_smaller_and_counts_its_indices(tmp_path):
    torch.manual_seed(0)
    network = prune(
        nn.Sequential(nn.Linear(17, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 6)), 0.95
    )
    sizes = {name: write_network(network, tmp_path / name, name) for name in FORMATS}
    weights, biases = 17 * 256 + 256 * 256 + 256 * 6, 518
    assert sizes["float32"] - 4 * (weights + biases) < 600
    assert sizes["int8"] - (weights + 4 * biases) < 600
    assert 0 < sizes["int4"] - (weights / 2 + 4 * biases) < 600
    survive = sum(int(layer.weight.count_nonzero()) for layer in layers_of(network).values())
    # Not less than theory allows: the entropies of masks and of surviving levels, and the biases whole.
    least = 4 * biases
    for layer in layers_of(network).values():
        levels = to_levels(layer.weight.detach())[0].numpy().ravel()
        for symbols in (levels != 0, levels[levels != 0]):
            counts = np.unique(symbols, return_counts=True)[1]
            least += symbols.size * entropy(counts, base=2) / 8
    assert least < sizes["sparse_int8"] < 1.15 * least
    assert sizes["float32"] / sizes["sparse_int8"] > 25
    assert paper_ratio(network, network, 8) == pytest.approx(4 * weights / survive)
    assert sparsity(network) == pytest.approx(1 - survive / weights)


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_low_rank_layers_become_two(name, request, tmp_path):
    network = copy_of(request.getfixturevalue(name))
    factors = {}
    with torch.no_grad():
        for layer_name, layer in layers_of(network).items():
            factors[layer_name] = truncate(layer.weight.flatten(1), 2)
            layer.weight.copy_((factors[layer_name][0] @ factors[layer_name][1]).view_as(layer.weight))
    split = split_low_rank(network, factors)
    assert len(layers_of(split)) == 2 * len(layers_of(network))
    x = observations(name)
    assert torch.allclose(split(x), network(x), atol=1e-5)
    assert write_network(split, tmp_path / "a", "sparse") < write_network(network, tmp_path / "b", "sparse")
    assert torch.equal(read_network(tmp_path / "a")[0](x), split(x))


def test_a_fresh_process_runs_the_file(mlp, tmp_path):
    network = prune(mlp)
    write_network(network, tmp_path / "policy.lpz", "sparse_int8")
    script = (
        "import torch; from lightning_pz.compression.formats.network_file import read_network\n"
        f"network, _ = read_network({str(tmp_path / 'policy.lpz')!r})\n"
        "print([repr(v) for v in network(torch.linspace(-1, 1, 5)[None])[0].tolist()])"
    )
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    here = read_network(tmp_path / "policy.lpz")[0](torch.linspace(-1, 1, 5)[None])[0]
    assert output.strip() == str([repr(v) for v in here.tolist()])


@pytest.mark.parametrize("name", ["mlp", "cnn"])
@pytest.mark.parametrize("bits", [None, 8, 4])
def test_onnx_equals_torch(name, bits, request, tmp_path):
    network = prune(request.getfixturevalue(name), bits=bits)
    if name == "mlp":
        rounding = ActivationInt8()
        rounding.largest.fill_(2.0)
        rounding.on = True
        network = nn.Sequential(*network[:3], rounding, *network[3:]).eval()
    plan, tensors = to_plan(network)
    levels = {key: to_levels(tensors[key], bits) for key in weight_names(plan)} if bits else None
    size = write_onnx(plan, tensors, SHAPES[name], tmp_path / "x.onnx", levels, bits=bits or 8)
    assert size == (tmp_path / "x.onnx").stat().st_size
    x = observations(name)
    (got,) = onnxruntime.InferenceSession(tmp_path / "x.onnx").run(None, {"observation": x.numpy()})
    assert np.abs(got - network(x).detach().numpy()).max() < 1e-4
    if bits:
        assert size < write_onnx(*to_plan(network), SHAPES[name], tmp_path / "y.onnx")


def test_what_float16_cannot_hold_stays_float32(tmp_path):
    torch.manual_seed(0)
    mean, std = torch.tensor([1e6, 0.0, -3.0]), torch.tensor([1e5, 1e-9, 2.0])
    network = nn.Sequential(Standardize(mean, std), nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    with torch.no_grad():
        network[1].weight[0, 0] = 1e5
    x = mean + std * torch.randn(50, 3)
    for name in ("float16", "sparse_float16"):
        write_network(network, tmp_path / "x.lpz", name)
        found, _ = read_network(tmp_path / "x.lpz")
        assert found(x).tolist() == pytest.approx(np.array(network(x).tolist()), abs=5e-3)


@pytest.mark.parametrize(
    "module",
    [
        nn.MaxPool2d(2, ceil_mode=True), nn.MaxPool2d(2, dilation=2), nn.Flatten(2), nn.Conv2d(4, 4, 3, padding=1, groups=2),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), nn.LeakyReLU(),
    ],
)  # fmt: skip
def test_what_a_plan_would_drop_is_refused(module):
    with pytest.raises(UserError, match="cannot be written to a compressed file"):
        to_plan(nn.Sequential(module))


def test_oblong_pooling_is_kept_in_every_form(tmp_path):
    torch.manual_seed(0)
    pools = [nn.MaxPool2d((2, 3), (1, 2), (1, 0)), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 8 * 3, 3)]
    network, x = nn.Sequential(*pools), torch.randn(5, 4, 16, 16)
    network[-1] = nn.Linear(network[:3](x).shape[1], 3)
    write_network(network, tmp_path / "x.lpz", "float32")
    write_onnx(*to_plan(network), (4, 16, 16), tmp_path / "x.onnx")
    assert torch.equal(read_network(tmp_path / "x.lpz")[0](x), network(x))
    (got,) = onnxruntime.InferenceSession(tmp_path / "x.onnx").run(None, {"observation": x.numpy()})
    assert got == pytest.approx(network(x).detach().numpy(), abs=1e-5)


def test_bad_files(mlp, tmp_path):
    path = tmp_path / "x.lpz"
    with pytest.raises(UserError, match="there is no file"):
        read_network(path)
    write_network(mlp, path, "int8")
    content = path.read_bytes()
    for broken, sentence in (
        (b"PK" + content, "no compressed policy"),
        (content[:-5], "damaged"),
        (content[:-5] + bytes(5), "damaged.*checksum"),
        (content[:20], "damaged"),
        (content[:4] + b"\x09" + content[5:], "has format 9"),
    ):
        path.write_bytes(broken)
        with pytest.raises(UserError, match=sentence):
            read_network(path)
    with pytest.raises(UserError, match="Did you mean 'float16'"):
        write_network(mlp, path, "flaot16")
    mlp[1].weight.data[0, 0] = torch.nan
    with pytest.raises(UserError, match=r"expected finite weights, but 1.weight holds 1"):
        write_network(mlp, path, "int8")
    with pytest.raises(UserError, match="LSTM inside a policy"):
        to_plan(nn.Sequential(nn.LSTM(2, 2)))
