"""Microseconds from one observation to one action, on one core."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lightning_pz.common.checks import is_installed
from lightning_pz.common.threads import one_thread


def latencies(
    networks: Mapping[str, nn.Module], onnx_files: Mapping[str, Path], shape: tuple[int, ...], calls: int = 300
) -> dict[str, float]:
    """Return the median time of one call with one observation, in microseconds, by name.

    All take turns, so that what else runs on the machine disturbs them alike.

    Args:
        networks: Called by torch.
        onnx_files: Called by onnxruntime, where it is installed.
        shape: Of one observation.
        calls: Of each.
    """
    observation = np.zeros((1, *shape), dtype=np.float32)
    tensor = torch.from_numpy(observation)
    ways: dict[str, Callable[[], object]] = {name: lambda n=network: n(tensor) for name, network in networks.items()}  # type: ignore[misc]
    if is_installed("onnxruntime"):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        for name, path in onnx_files.items():
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            ways[name] = lambda s=session: s.run(None, {"observation": observation})  # type: ignore[misc]
    taken: dict[str, list[float]] = {name: [] for name in ways}
    with one_thread(), torch.no_grad():
        for turn in range(calls + 10):
            for name, call in ways.items():
                begin = time.perf_counter()
                call()
                if turn >= 10:
                    taken[name].append(time.perf_counter() - begin)
    return {name: round(1e6 * float(np.median(times)), 1) for name, times in taken.items()}
