"""Sizes of a compressed network, counted in several ways, each under its own name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from lightning_pz.compression.formats.network_file import FORMATS, write_network
from lightning_pz.compression.methods.stack import layers_of


def sparsity(network: nn.Module) -> float:
    """Return the share of all weights that are zero; biases do not count."""
    weights = [module.weight for module in layers_of(network).values()]
    return sum(int((weight == 0).sum()) for weight in weights) / sum(weight.numel() for weight in weights)


def paper_ratio(dense: nn.Module, final: nn.Module, bits: int) -> float:
    """Return the ratio that arXiv 2405.07748 reports: `32 / bits` times weights over surviving weights.

    It counts neither indices nor biases nor scales: 8 bits at 99 % sparsity are "400 times".

    Args:
        dense: The network before compression; its weights count as 32 bits each.
        final: The network to deploy; its weights other than zero, those of low-rank factors included, survive.
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
        dense: The network without compression, written as `float32` and `float16`.
        final: The network to deploy, its low-rank layers split; written in all other formats.
        own: The smallest format that loses nothing of `final`.
        folder: Where `formats/<name>.lpz` and `policy.lpz`, in its own format, go.
        meta: Plain data kept in each file.
    """
    (folder / "formats").mkdir(parents=True, exist_ok=True)
    sizes = {}
    for name in FORMATS:
        network = dense if name in ("float32", "float16") else final
        sizes[name] = write_network(network, folder / "formats" / f"{name}.lpz", name, meta)
    write_network(final, folder / "policy.lpz", own, meta)
    return sizes
