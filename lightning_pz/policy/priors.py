"""Distributions of random policies, with a generator of its own for each policy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_pz.common.checks import one_of
from lightning_pz.common.errors import UserError
from lightning_pz.policy.layout import Layout

Initializer = Literal["fan_in_normal", "standard_normal", "uniform", "torch_default", "orthogonal"]
INITIALIZERS: tuple[str, ...] = get_args(Initializer)


@dataclass(frozen=True)
class Prior:
    """An initializer with its gain.

    Args:
        initializer: With n inputs to a layer, its weights are drawn from:
            `fan_in_normal` N(0, gain^2 / n); `standard_normal` N(0, gain^2); `uniform` on
            +- gain sqrt(3 / n), of the same variance as `fan_in_normal`; `torch_default` on +- gain / sqrt(n),
            as `torch.nn.Linear` does; `orthogonal` a random (semi-)orthogonal matrix times gain.
        gain: Factor on the weights, no unit.
        bias_scale: Factor on the biases, which have the weights' distribution at gain 1
            (for `orthogonal`: N(0, bias_scale^2 / n)). 0 for no biases.

    Raises:
        UserError: An unknown initializer, or a factor that is negative or not finite.
    """

    initializer: Initializer = "fan_in_normal"
    gain: float = 1.0
    bias_scale: float = 1.0

    def __post_init__(self) -> None:
        one_of("prior.initializer", self.initializer, INITIALIZERS)
        for name in ("gain", "bias_scale"):
            if not 0 <= (value := getattr(self, name)) < math.inf:
                raise UserError(f"--prior.{name} expects a finite number of at least 0, but got {value}")


def prior_scale(prior: Prior, layout: Layout) -> Float[Tensor, " params"]:
    """Return the standard deviation of each parameter under the prior, shape (P,)."""
    parts = []
    for out, size in layout.weight_shapes:
        units = {"standard_normal": 1.0, "torch_default": math.sqrt(1 / (3 * size))}
        unit = units.get(prior.initializer, math.sqrt(1 / size))
        # An orthogonal (out, in) matrix has orthonormal rows or columns, whichever are fewer.
        weight_unit = math.sqrt(1 / max(out, size)) if prior.initializer == "orthogonal" else unit
        parts += [torch.full((out * size,), prior.gain * weight_unit), torch.full((out,), prior.bias_scale * unit)]
    return torch.cat(parts)


def draw_params(
    prior: Prior, layout: Layout, seed: int, indices: Sequence[int] | np.ndarray | Tensor
) -> Float[Tensor, "policies params"]:
    """Draw the policies with these indices, shape (len(indices), P).

    Policy i depends on (seed, i) alone, so that any of them can be drawn again, alone or in any batch, to the
    last bit. Each has its own SFC64 stream, seeded by NumPy's `SeedSequence`.
    """
    uniform = prior.initializer in ("uniform", "torch_default")
    raw = np.empty((len(indices), layout.num_params), dtype=np.float32)
    for row, index in zip(raw, indices, strict=True):
        generator = np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=(int(index),))))
        (generator.random if uniform else generator.standard_normal)(out=row, dtype=np.float32)
    params = torch.from_numpy(raw)
    if uniform:
        # Unit variance, so that one scale serves every initializer: U(-sqrt 3, sqrt 3).
        params.sub_(0.5).mul_(math.sqrt(12))
    if prior.initializer == "orthogonal":
        return _orthogonalize(params, prior, layout)
    return params.mul_(prior_scale(prior, layout))


def _orthogonalize(
    normals: Float[Tensor, "policies params"], prior: Prior, layout: Layout
) -> Float[Tensor, "policies params"]:
    """Turn standard normals into orthogonal weights by QR with the sign fixed, which makes them Haar."""
    layers = []
    for weight, bias in layout.unpack(normals):
        out, size = weight.shape[1:]
        q, r = torch.linalg.qr(weight if out >= size else weight.mT)
        q = q * torch.diagonal(r, dim1=-2, dim2=-1).sign()[:, None, :]
        layers.append(((q if out >= size else q.mT) * prior.gain, bias * (prior.bias_scale / math.sqrt(size))))
    return layout.pack(layers)
