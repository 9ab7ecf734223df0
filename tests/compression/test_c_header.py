"""A header of C does what its reference in NumPy does, to the last bit, and that does what the torch network does."""

import subprocess

import numpy as np
import pytest
import torch
from torch import nn

from lightning_pz.common.errors import UserError
from lightning_pz.compression.formats import narrow
from lightning_pz.compression.formats.c_header import write_header
from lightning_pz.compression.formats.exports import HEADER, compiled_size, write_exports
from lightning_pz.compression.formats.network_file import read_network, write_network
from lightning_pz.compression.formats.reference_forward import reference_forward
from lightning_pz.compression.formats.weight_forms import forms_of, smallest_form
from lightning_pz.compression.methods.low_rank import split_low_rank, truncate
from lightning_pz.compression.methods.quantize import ActivationInt8, calibrate_activations, fake_levels
from lightning_pz.compression.methods.stack import layers_of, magnitude_mask
from lightning_pz.compression.modules import Divide, Residual, Standardize, ToBox

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
PROGRAM = r"""
#include <stdio.h>
#include "policy.h"
int main(int argc, char **argv)
{
    float seen[POLICY_OBSERVATIONS], out[POLICY_OUTPUTS];
    (void)argv;
    while (fread(seen, sizeof seen, 1, stdin) == 1) {
        policy_act(seen, out);
#ifdef CHOICES
        if (argc > 1) out[0] = (float)policy_choose(seen);
#else
        (void)argc;
#endif
        fwrite(out, sizeof out, 1, stdout);
    }
    return 0;
}
"""
ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU, "silu": nn.SiLU, "identity": nn.Identity}


def make_network(activation="tanh", share=0.9, squash="tanh", rounds=False, per_channel=False, bits=8, wide=40):
    """Return a network of 5 observations and 3 outputs, pruned, rounded and calibrated."""
    torch.manual_seed(0)

    def hidden():
        act = ACTIVATIONS[activation]()
        return nn.Sequential(act, ActivationInt8()) if rounds else act

    box = [] if squash is None else [ToBox(torch.tensor([-2.0, -1.0, 0.0]), torch.tensor([1.0, 1.0, 0.5]), squash)]
    first = [
        Standardize(torch.randn(5), torch.rand(5) + 0.5),
        ToBox(torch.full((5,), -4.0), torch.full((5,), 4.0), "clip"),
    ]
    layers = [nn.Linear(5, 24), hidden(), nn.Linear(24, wide), hidden(), nn.Linear(wide, 3, bias=squash != "clip")]
    network = nn.Sequential(*first, *layers, *box).eval()
    with torch.no_grad():
        for layer in layers_of(network).values():
            keep = torch.ones_like(layer.weight, dtype=torch.bool)
            mask = magnitude_mask(layer.weight, keep, max(1, round((1 - share) * keep.numel())))
            layer.weight.mul_(2 * mask)
            if bits:
                layer.weight.copy_(fake_levels(layer.weight, bits, per_channel=per_channel))
    for module in network.modules():
        if isinstance(module, ActivationInt8):
            module.on = True
    calibrate_activations(network, torch.from_numpy(observations(500)))
    return network


def observations(count, size=5, spread=2.0):
    return (spread * np.random.default_rng(0).normal(size=(count, size))).astype(np.float32)


def compile_and_run(folder, seen, *flags, arguments=()):
    (folder / "main.c").write_text(PROGRAM)
    subprocess.run(["cc", *STRICT, *flags, "main.c", "-o", "main"], cwd=folder, check=True)
    done = subprocess.run([folder / "main", *arguments], input=seen.tobytes(), capture_output=True, check=True)
    assert not done.stderr
    return np.frombuffer(done.stdout, np.float32).reshape(len(seen), -1)


def same_bits(one, other):
    return one.shape == other.shape and np.array_equal(one.view(np.int32), other.view(np.int32))


CASES = [
    {"activation": name, "share": share, "squash": squash, "rounds": rounds, "per_channel": per_channel, "bits": bits}
    for name, share, squash, rounds, per_channel, bits in [
        ("tanh", 0.0, "tanh", False, False, 8), ("relu", 0.7, "clip", False, True, 8), ("silu", 0.95, None, False, False, 8),
        ("identity", 0.9, "tanh", False, True, 8), ("tanh", 0.95, "clip", True, True, 8), ("relu", 0.0, None, True, False, 8),
        ("silu", 0.7, "tanh", True, True, 8), ("relu", 0.0, "tanh", False, True, 4), ("silu", 0.7, None, False, False, 4),
        ("tanh", 0.95, "clip", False, True, 4), ("relu", 0.0, "tanh", True, True, 4), ("tanh", 0.6, "clip", True, False, 4),
        ("relu", 0.97, None, True, True, 4),
    ]
]  # fmt: skip


def form_of(bits):
    return f"sparse_int{bits}" if bits else "sparse"


@pytest.mark.parametrize(
    "case",
    [
        *CASES,
        {"bits": None, "share": 0.7, "rounds": True},
        {"bits": None, "share": 0.0},
        {"bits": None, "share": 0.7},
        {"bits": None},
    ],
)
def test_bits_are_those_of_the_reference_on_ten_thousand_observations(case, tmp_path):
    network = make_network(**case)
    path = tmp_path / "policy.lpz"
    write_network(
        network, path, form_of(case.get("bits", 8)), {"env": "X */ y"}, per_channel=case.get("per_channel", False)
    )
    write_header(path, tmp_path / HEADER, choices=False)
    seen = observations(10_000)
    wanted = reference_forward(path, seen)
    assert same_bits(compile_and_run(tmp_path, seen, "-O2"), wanted)
    with torch.no_grad():
        found = read_network(path)[0](torch.from_numpy(seen)).numpy()
    missed = np.abs(found - wanted).max(1)
    if case.get("rounds"):
        # A number at the edge between two levels may be rounded to either.
        assert (missed < 1e-5).mean() > 0.9 and missed.max() < 0.1
    else:
        assert missed.max() < 1e-5


@pytest.mark.parametrize("flags", ["-O0", "-O3"])
def test_sanitizers_find_nothing_and_levels_of_optimization_change_no_bit(flags, tmp_path):
    seen = observations(500)
    seen[0], seen[1], seen[2, 0], seen[3, 1] = np.float32(3e38), -np.float32(3e38), np.inf, np.nan
    for number, case in enumerate([*CASES, {"bits": None, "share": 0.7}]):
        folder = tmp_path / str(number)
        folder.mkdir()
        form = form_of(case.get("bits", 8))
        write_network(make_network(**case), folder / "x.lpz", form, per_channel=case.get("per_channel", False))
        write_header(folder / "x.lpz", folder / HEADER, choices=False)
        with np.errstate(all="ignore"):
            wanted = reference_forward(folder / "x.lpz", seen[4:])
        checks = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
        got = compile_and_run(folder, seen, flags, *checks)
        assert same_bits(got[4:], wanted)
        if case.get("squash") == "tanh":  # also where observations are no numbers
            assert (got >= np.float32([-2, -1, 0])).all() and (got <= np.float32([1, 1, 0.5])).all()


def test_each_form_of_4_bits_is_at_work_and_the_text_is_in_a_fixed_order(tmp_path):
    kinds = set()
    for number, share in enumerate((0.0, 0.6, 0.97)):
        network = make_network(share=share, bits=4, wide=120)
        write_network(network, tmp_path / f"{number}.lpz", "sparse_int4")
        write_header(tmp_path / f"{number}.lpz", tmp_path / HEADER, choices=False)
        text = (tmp_path / HEADER).read_text()
        kinds |= {word for word in ("dense", "bitmap", "rows") if f"as {word} of 4 bits, " in text}
        names = ("policy_mean_", "policy_std_", "policy_bias_", "policy_low_", "policy_high_")
        assert sorted(names, key=text.index) == list(names)
    assert kinds == {"dense", "bitmap", "rows"}


def test_choices_are_those_of_the_largest_score(tmp_path):
    write_network(make_network(squash=None), tmp_path / "x.lpz", "sparse_int8")
    write_header(tmp_path / "x.lpz", tmp_path / HEADER, choices=True)
    seen = observations(1000)
    chosen = compile_and_run(tmp_path, seen, "-DCHOICES", arguments=("choose",))[:, 0]
    scores = reference_forward(tmp_path / "x.lpz", seen)
    assert np.array_equal(chosen, scores.argmax(1)) and len(set(chosen)) > 1


def test_low_rank_layers_division_and_nested_parts(tmp_path):
    network = make_network(bits=None, share=0.0, squash=None)
    factors = {}
    with torch.no_grad():
        name, layer = list(layers_of(network).items())[1]
        factors[name] = truncate(layer.weight, 2)
        layer.weight.copy_(factors[name][0] @ factors[name][1])
    nested = nn.Sequential(Divide(3.0), nn.Flatten(), nn.Sequential(*split_low_rank(network, factors)))
    write_network(nested, tmp_path / "x.lpz", "sparse")
    write_header(tmp_path / "x.lpz", tmp_path / HEADER, choices=False)
    seen = observations(1000)
    wanted = reference_forward(tmp_path / "x.lpz", seen)
    assert same_bits(compile_and_run(tmp_path, seen), wanted)
    assert np.abs(nested(torch.from_numpy(seen)).detach().numpy() - wanted).max() < 1e-5


def test_layers_without_any_weight_and_bounds_without_an_end(tmp_path):
    network = make_network(squash=None)
    with torch.no_grad():
        layers_of(network)["4"].weight.zero_()
        network[1].high.fill_(torch.inf)
    write_network(network, tmp_path / "x.lpz", "sparse_int8")
    write_header(tmp_path / "x.lpz", tmp_path / HEADER, choices=False)
    seen = observations(100)
    assert same_bits(compile_and_run(tmp_path, seen), reference_forward(tmp_path / "x.lpz", seen))


@pytest.mark.parametrize("columns", [17, 256, 257, 70_000])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.6, 1.0])
@pytest.mark.parametrize(("dtype", "packed"), [(np.int8, False), (np.float32, False), (np.int8, True)])
def test_every_form_gives_back_the_matrix_and_the_smallest_is_taken(columns, share, dtype, packed):
    random = np.random.default_rng(0)
    most = 7 if packed else 126
    weight = (random.integers(1, most + 1, (3, columns)) * (random.random((3, columns)) < share)).astype(dtype)
    forms, count = forms_of(weight, packed=packed), int((weight != 0).sum())

    def numbers(kind, count):
        return narrow.unpack(forms[kind].arrays["value"], count) if packed else forms[kind].arrays["value"][:count]

    def size(count):
        return -(-count // 2) if packed else count * weight.itemsize

    wide = columns + columns % 2 if packed else columns  # whole bytes
    assert np.array_equal(numbers("dense", 3 * wide).reshape(3, wide)[:, :columns], weight)
    bits = forms["bitmap"].arrays["bit"].reshape(3, -1)
    places = np.unpackbits(bits, axis=1, count=columns, bitorder="little").astype(bool)
    again = np.zeros_like(weight)
    again[places] = numbers("bitmap", max(1, count))[:count]
    assert np.array_equal(again, weight)
    again, rows = np.zeros_like(weight), forms["rows"].arrays
    again[np.repeat(np.arange(3), rows["count"]), rows["column"][:count]] = numbers("rows", max(1, count))[:count]
    assert np.array_equal(again, weight)
    width = 1 if columns <= 256 else 2 if columns <= 65536 else 4
    widest = 1 if (weight != 0).sum(1).max() < 256 else 2 if (weight != 0).sum(1).max() < 65536 else 4
    assert forms["dense"].size == 3 * size(columns)
    assert forms["bitmap"].size == 3 * -(-columns // 8) + size(max(1, count))
    assert forms["rows"].size == 3 * widest + max(1, count) * width + size(max(1, count))
    assert smallest_form(weight, packed=packed).size == min(form.size for form in forms.values())


@pytest.mark.parametrize(("bits", "most"), [(8, 12_000), (4, 10_000)])
def test_an_actor_of_71424_weights_at_95_percent_takes_few_bytes(bits, most, tmp_path):
    torch.manual_seed(0)
    layers = [nn.Linear(17, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 6)]
    network = nn.Sequential(
        Standardize(torch.randn(17), torch.rand(17) + 1), *layers, ToBox(-torch.ones(6), torch.ones(6), "tanh")
    )
    count = 0
    with torch.no_grad():
        for layer in layers_of(network).values():
            mask = magnitude_mask(
                layer.weight, torch.ones_like(layer.weight, dtype=torch.bool), round(0.05 * layer.weight.numel())
            )
            layer.weight.copy_(fake_levels(layer.weight * mask, bits))
            count += layer.weight.numel()
    assert count == 71_424
    write_network(network, tmp_path / "x.lpz", form_of(bits))
    write_header(tmp_path / "x.lpz", tmp_path / HEADER, choices=False)
    found = compiled_size(tmp_path / HEADER)
    biases, values = 4 * (256 + 256 + 6), 2 * 17 * 4
    survive = sum(int(layer.weight.count_nonzero()) for layer in layers_of(network).values())
    assert survive * (1 + bits / 8) + biases + values < found["c_flash_bytes"] < most
    assert found["c_ram_bytes"] == 4 * (256 + 256)


@pytest.mark.parametrize(
    ("module", "word"),
    [
        (nn.Conv2d(3, 2, 1), "convolutions"),
        (nn.MaxPool2d(2), "pooling"),
        (Residual(nn.Sequential(nn.Linear(5, 5))), "residual"),
    ],
)
def test_other_layers_are_refused_before_anything_is_written(module, word, tmp_path):
    write_network(nn.Sequential(module, nn.Linear(5, 2)), tmp_path / "policy.lpz", "sparse")
    with pytest.raises(UserError, match=f"--format c writes networks of linear layers, but this one has {word}"):
        write_exports(tmp_path, ["c"], (5,), choices=False)
    assert [path.name for path in tmp_path.iterdir()] == ["policy.lpz"]


def test_without_a_compiler_the_header_is_there_and_its_size_is_not(tmp_path, monkeypatch):
    write_network(make_network(), tmp_path / "policy.lpz", "sparse_int8")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert write_exports(tmp_path, ["lpz", "c"], (5,), choices=False) == {} and (tmp_path / HEADER).is_file()
    (tmp_path / "cc").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "size").write_text("#!/bin/sh\nexit 0\n")
    for name in ("cc", "size"):
        (tmp_path / name).chmod(0o755)
    assert compiled_size(tmp_path / HEADER) == {}
