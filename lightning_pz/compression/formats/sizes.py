"""What a compressed network weighs, counted several ways, each under its own name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from lightning_pz.compression.formats.files import FORMATS, write_network
from lightning_pz.compression.methods.stack import layers_of


def layer_sparsity(network: nn.Module) -> dict[str, float]:
    """Return the share of weights that are zero, by layer; biases do not count."""
    return {name: float((module.weight == 0).float().mean()) for name, module in layers_of(network).items()}


def sparsity(network: nn.Module) -> float:
    """Return the share of all weights that are zero; biases do not count."""
    weights = [module.weight for module in layers_of(network).values()]
    return sum(int((weight == 0).sum()) for weight in weights) / sum(weight.numel() for weight in weights)


def paper_ratio(dense: nn.Module, final: nn.Module, bits: int) -> float:
    """Return the ratio that arXiv 2405.07748 reports: `32 / bits` times weights over surviving weights.

    It counts neither indices nor biases nor scales: 8 bits at 99 % sparsity are "400 times".

    Args:
        dense: The network before it was made small; its weights are those that count as 32 bits each.
        final: The network to deploy; its weights that are not zero, those of low-rank factors included, survive.
        bits: Of each surviving weight.
    """
    weights = sum(module.weight.numel() for module in layers_of(dense).values())
    survive = sum(int(torch.count_nonzero(module.weight)) for module in layers_of(final).values())
    return 32 / bits * weights / max(1, survive)


def write_formats(
    dense: nn.Sequential, final: nn.Sequential, own: str, folder: Path, meta: dict[str, Any]
) -> dict[str, int]:
    """Write the compressed network in every format and return the sizes in bytes, by format.

    Args:
        dense: The network as its weights would be written without compression; `float32` and `float16` are its size.
        final: The network to deploy, its low-rank layers split; all other formats.
        own: The format that loses nothing of `final` and is the smallest such.
        folder: Where `formats/<name>.lpz` and `policy.lpz`, the own one, go.
        meta: Plain data kept in each file.
    """
    (folder / "formats").mkdir(parents=True, exist_ok=True)
    sizes = {}
    for name in FORMATS:
        network = dense if name in ("float32", "float16") else final
        sizes[name] = write_network(network, folder / "formats" / f"{name}.lpz", name, meta)
    write_network(final, folder / "policy.lpz", own, meta)
    return sizes
