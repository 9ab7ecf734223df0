"""Measures of a compressed network against the original: behavior, weights that survive, latency."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_pz.common.checks import is_installed
from lightning_pz.common.threads import one_thread
from lightning_pz.compression.methods.stack import layers_of

BEHAVIOR_EPISODES = 5
"""Episodes of the original policy in whose states its behavior and the compressed one's are compared."""
_WARM_UP = 10
"""Calls that are not timed."""


@torch.no_grad()
def outputs(
    network: nn.Sequential, observations: Float[Tensor, "states ..."], chunk: int = 4096
) -> Float[Tensor, "states output"]:
    """Return actions or scores on many raw observations, a chunk at a time."""
    return torch.cat([network(part) for part in observations.split(chunk)])


def output_fvu(
    got: Float[Tensor, "states output"], wanted: Float[Tensor, "states output"], *, scores: bool = False
) -> float:
    """Return the share of the wanted outputs' variance over states that is missed; 0 is the same behavior.

    For outputs g and wanted outputs w, (S, A), it is `sum |g - w|^2 / sum |w - m|^2`, m the mean of w over states. The
    denominator is at least 1e-12, so that of constant wanted outputs it is a huge number and not NaN. Of `scores` of
    actions, what all actions of a state have in common is taken off first, since it decides no choice. In contrast,
    `lightning_pz.autoencoder.losses.fvu` takes the variance over policies.
    """
    if scores:
        got, wanted = got - got.mean(1, keepdim=True), wanted - wanted.mean(1, keepdim=True)
    missed, spread = (got - wanted).double().square().sum(), (wanted - wanted.mean(0)).double().square().sum()
    return float(missed / spread.clamp_min(1e-12))


def compare_behavior(
    compressed: nn.Sequential, original: nn.Sequential, states: Tensor, *, discrete: bool
) -> dict[str, float]:
    """Return `fvu` of the compressed policy's outputs on raw states, and for discrete actions `agreement`."""
    got, wanted = outputs(compressed, states.float()), outputs(original, states.float())
    values = {"fvu": output_fvu(got, wanted, scores=discrete)}
    if discrete:
        values["agreement"] = float((got.argmax(1) == wanted.argmax(1)).float().mean())
    return values


def sparsity(network: nn.Module) -> float:
    """Return the share of all weights that are zero; biases do not count."""
    weights = torch.cat([module.weight.flatten() for module in layers_of(network).values()])
    return int((weights == 0).sum()) / weights.numel()


def paper_ratio(dense: nn.Module, final: nn.Module, bits: int) -> float:
    """Return the ratio that arXiv 2405.07748 reports: `32 / bits` times weights over surviving weights.

    It counts neither indices nor biases nor scales: 8 bits at 99 % sparsity are "400 times". Weights of the dense
    network count 32 bits each; those of the final one other than zero, low-rank factors included, survive with `bits`.
    """
    weights = sum(module.weight.numel() for module in layers_of(dense).values())
    survive = sum(int(torch.count_nonzero(module.weight)) for module in layers_of(final).values())
    return 32 / bits * weights / max(1, survive)


def latencies(
    networks: Mapping[str, nn.Module], onnx_files: Mapping[str, Path], shape: tuple[int, ...], calls: int = 300
) -> dict[str, float]:
    """Return the median time from one observation to one action on one core, in microseconds, by name.

    All take turns, so that other work on the machine disturbs them alike. Files are called by onnxruntime, where it is
    installed. The shape is that of one observation.
    """
    tensor = torch.from_numpy(observation := np.zeros((1, *shape), dtype=np.float32))
    timed: dict[str, Callable[[], object]] = {name: lambda n=network: n(tensor) for name, network in networks.items()}  # type: ignore[misc]
    if is_installed("onnxruntime"):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        for name, path in onnx_files.items():
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            timed[name] = lambda s=session: s.run(None, {"observation": observation})  # type: ignore[misc]
    taken: dict[str, list[float]] = {name: [] for name in timed}
    with one_thread(), torch.no_grad():
        for _ in range(calls + _WARM_UP):
            for name, call in timed.items():
                begin = time.perf_counter()
                call()
                taken[name].append(time.perf_counter() - begin)
    return {name: round(1e6 * float(np.median(times[_WARM_UP:])), 1) for name, times in taken.items()}
