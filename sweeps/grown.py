"""Searches in the latent spaces of pools that were grown anew for every seed, against searches in weights.

It is the comparison of `sweeps.compare` with the grid of `conf/sweep/grown.yaml`.
"""

from __future__ import annotations

from sweeps import compare


def run(arguments: list[str]) -> None:
    """Grow, fit, evaluate, search and report; see `sweeps.compare.run`."""
    compare.run(arguments, "grown")
