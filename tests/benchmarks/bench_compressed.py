"""Latency of one action on one core: compressed C against dense float32 C of the same compiler, onnxruntime and torch.

`make bench` runs this file. The network is HalfCheetah's actor of two hidden layers of 256 (71,424 weights), random, pruned by
size. Each program calls `policy_act` on changing observations, in batches of 20; all take turns, and the median of all batches
counts, so that other work on the machine disturbs them alike.
"""

import os
import shutil
import subprocess

import numpy as np
import pytest
import torch
from torch import nn

from lightning_pz.compression.formats.c_header import write_header
from lightning_pz.compression.formats.exports import HEADER, ONNX_FILES, compiled_size, write_exports
from lightning_pz.compression.formats.network_file import read_network, write_network
from lightning_pz.compression.measures import latencies
from lightning_pz.compression.methods.quantize import ActivationInt8, calibrate_activations, fake_levels
from lightning_pz.compression.methods.stack import layers_of, magnitude_mask
from lightning_pz.compression.modules import Standardize, ToBox, copy_of

ROUNDS, BATCHES = 5, 200
SPARSITIES = (0.0, 0.5, 0.8, 0.9, 0.95)
LEVELS_OF_OPTIMIZATION = ("-O2", "-O3 -march=native", "-O3 -march=native -ffast-math")
PROGRAM = r"""
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <time.h>
#include "policy.h"
int main(void)
{
    float seen[POLICY_OBSERVATIONS], out[POLICY_OUTPUTS];
    volatile float sink = 0.0f;
    for (int i = 0; i < POLICY_OBSERVATIONS; ++i) seen[i] = 0.1f * (float)(i - 8);
    for (int batch = -20; batch < BATCHES; ++batch) {
        struct timespec begin, end;
        clock_gettime(CLOCK_MONOTONIC, &begin);
        for (int call = 0; call < 20; ++call) {
            policy_act(seen, out);
            seen[call % POLICY_OBSERVATIONS] += 0.01f * out[0];
            sink += out[1];
        }
        clock_gettime(CLOCK_MONOTONIC, &end);
        if (batch >= 0)
            printf("%.3f\n", ((double)(end.tv_sec - begin.tv_sec) * 1e9 + (double)(end.tv_nsec - begin.tv_nsec)) / 2e4);
    }
    return 0;
}
"""


def actor(share, activation):
    """Return the float network, pruned; and that with int8 weights; and that with int8 activations too."""
    torch.manual_seed(0)
    layers = [nn.Linear(17, 256), activation(), nn.Linear(256, 256), activation(), nn.Linear(256, 6)]
    ends = Standardize(torch.zeros(17), torch.ones(17)), ToBox(-torch.ones(6), torch.ones(6), "tanh")
    network = nn.Sequential(ends[0], *layers, ends[1]).eval()
    with torch.no_grad():
        for layer in layers_of(network).values():
            keep = torch.ones_like(layer.weight, dtype=torch.bool)
            layer.weight.mul_(magnitude_mask(layer.weight, keep, round((1 - share) * keep.numel())))
        weights = copy_of(network)
        for layer in layers_of(weights).values():
            layer.weight.copy_(fake_levels(layer.weight))
    both = copy_of(weights)
    for place in (2, 4):
        both[place] = nn.Sequential(both[place], ActivationInt8())
        both[place][1].on = True
    calibrate_activations(both, torch.randn(500, 17))
    return network, weights, both


def build(folder, network, form, flags):
    """Compile a network's header with a program that times it; return the program and its flash and RAM."""
    folder.mkdir(parents=True)
    write_network(network, folder / "policy.lpz", form)
    write_header(folder / "policy.lpz", folder / HEADER, choices=False)
    (folder / "main.c").write_text(PROGRAM)
    subprocess.run(
        ["cc", "-std=c99", *flags.split(), f"-DBATCHES={BATCHES}", "main.c", "-o", "main"], cwd=folder, check=True
    )
    return folder / "main", compiled_size(folder / HEADER)


# It times compiled programs; no Python package brings a compiler, and the other benchmarks need none.
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_latency_by_sparsity(activation, tmp_path):
    programs, sizes, others = {}, {}, {}
    for share in SPARSITIES:
        network, weights, both = actor(share, activation)
        for flags in LEVELS_OF_OPTIMIZATION:
            kinds = {"int8": (weights, "sparse_int8"), "int8 activations": (both, "sparse_int8")}
            if share == 0:
                kinds["dense float32"] = (network, "float32")
            for kind, (one, form) in kinds.items():
                programs[share, kind, flags], sizes[share, kind] = build(
                    tmp_path / f"{share} {kind} {flags}".replace(" ", "_"), one, form, flags
                )
        for kind, one, form in (("int8 weights", weights, "sparse_int8"), ("int8 activations", both, "sparse_int8")):
            folder = tmp_path / f"{share}{kind}"
            folder.mkdir()
            write_network(one, folder / "policy.lpz", form)
            write_exports(folder, ["onnx"], (17,), choices=False)
            files = {name: folder / file for name, file in ONNX_FILES.items()}
            found = latencies({"torch": read_network(folder / "policy.lpz")[0]}, files, (17,), calls=2000)
            others[share, kind] = found
    taken = {key: [] for key in programs}
    for _ in range(ROUNDS):
        for key, program in programs.items():
            done = subprocess.run([program], capture_output=True, text=True, check=True)
            taken[key] += map(float, done.stdout.split())
    median = {key: float(np.median(times)) for key, times in taken.items()}
    print(f"\n  {activation.__name__}, microseconds an action on one core, load {os.getloadavg()[0]:.1f}")
    for flags in LEVELS_OF_OPTIMIZATION:
        dense = median[0.0, "dense float32", flags]
        print(
            f"\n  cc {flags}: dense float32 {dense:.1f} us, {sizes[0.0, 'dense float32']['c_flash_bytes']:,} bytes of flash"
        )
        print("  | sparsity | int8 | times as fast | int8 activations | times as fast | flash | RAM |")
        for share in SPARSITIES:
            cells = [f"{share:.0%}"]
            for kind in ("int8", "int8 activations"):
                cells += [f"{median[share, kind, flags]:.1f}", f"{dense / median[share, kind, flags]:.1f}"]
            size = [sizes[share, kind] for kind in ("int8", "int8 activations")]
            cells += [" / ".join(f"{one[f'c_{what}_bytes']:,}" for one in size) for what in ("flash", "ram")]
            print("  | " + " | ".join(cells) + " |")
    print("\n  | sparsity | torch | onnxruntime float32 | onnxruntime int8 weights | onnxruntime int8 activations |")
    for share in SPARSITIES:
        one, two = others[share, "int8 weights"], others[share, "int8 activations"]
        numbers = [one["torch"], one["onnx"], one["onnx_int8"], two["onnx_int8"]]
        print(f"  | {share:.0%} | " + " | ".join(f"{number:.1f}" for number in numbers) + " |")
