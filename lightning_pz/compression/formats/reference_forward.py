"""The forward of a `.lpz` file in NumPy, operation by operation in the order of the C header, equal to it bit for bit.

All numbers are float32 and every operation is rounded once: no fused multiply-add, no other order of sums. A sum goes over the
columns in ascending order from +0; zeros are left out, which changes nothing for finite numbers. Layers whose input is int8
levels sum in int32. `tanh` is made of float32 additions, products and quotients, so that no library of a chip decides a bit;
`silu(x) = x / 2 (1 + tanh(x / 2))`. Equal wherever C's float is IEEE 754 binary32 and is evaluated as such.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from lightning_pz.compression.formats.network_file import read_stored
from lightning_pz.compression.formats.stages import LinearLayer, stages_of

_f32 = np.float32
_ODD = (-0.00610494578, 0.0210036393, -0.0538524969, 0.133327823, -0.333333291)
_EXPONENT = (1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0, 1.0)
CONSTANTS: dict[str, Any] = {
    # Below, tanh is a polynomial; above, its distance to 1 is less than a rounding.
    "SMALL": _f32(0.625), "LARGE": _f32(9),
    # Of (tanh(x) / x - 1) / x^2 in powers of x^2, highest first, for small x: fitted at Chebyshev nodes.
    "ODD": tuple(map(_f32, _ODD)),
    # Taylor's, of the exponential.
    "EXPONENT": tuple(map(_f32, _EXPONENT)),
    # The logarithm of 2 in two parts, the first of few bits, so that a small whole number times it is exact.
    "LOG2_E": _f32(1.44269504), "LN2_HIGH": _f32(0.693359375), "LN2_LOW": _f32(-2.12194440e-4),
    # 1.5 * 2^23: added and subtracted, it rounds a small float to the nearest whole number, ties to even.
    "MAGIC": _f32(12582912),
}  # fmt: skip
"""Numbers that the header has too, by the name that stands for them in its text."""
_CHUNK = 256
"""States at a time, so that sums stay in a core's cache."""


def reference_forward(
    path: str | Path, observations: Float[np.ndarray, "states observation"]
) -> Float[np.ndarray, "states output"]:
    """Return actions or scores of a compressed policy on raw observations; raise `UserError` as `stages_of`."""
    x = observations.astype(_f32)
    with np.errstate(under="ignore"):
        for stage in stages_of(read_stored(path)):
            if stage.linear is not None:
                x = _linear(stage.linear, x)
            for kind, arrays in stage.operations:
                x = _OPERATIONS[kind](x, **arrays)
            if stage.step is not None:
                x = _round_levels(x, stage.step)
    return x


def _round_levels(x: np.ndarray, step: np.float32) -> np.ndarray:
    """Return the nearest levels of a step, int8 from -127 to 127."""
    scaled = np.clip(x * (_f32(1) / step), _f32(-127), _f32(127))
    return ((scaled + CONSTANTS["MAGIC"]) - CONSTANTS["MAGIC"]).astype(np.int8)


def _tanh(x: np.ndarray) -> np.ndarray:
    """Return the hyperbolic tangent, within 2e-7."""
    size = np.abs(x)
    square = x * x
    small = np.full_like(x, CONSTANTS["ODD"][0])
    for factor in CONSTANTS["ODD"][1:]:
        small = small * square + factor
    small = x + x * (square * small)
    twice = np.clip(size, CONSTANTS["SMALL"], CONSTANTS["LARGE"]) * _f32(2)
    power = np.floor(twice * CONSTANTS["LOG2_E"] + _f32(0.5))
    rest = (twice - power * CONSTANTS["LN2_HIGH"]) - power * CONSTANTS["LN2_LOW"]
    grown = np.full_like(x, CONSTANTS["EXPONENT"][0])
    for factor in CONSTANTS["EXPONENT"][1:]:
        grown = grown * rest + factor
    large = _f32(1) - _f32(2) / (np.ldexp(grown, power.astype(np.int32)) + _f32(1))
    large = np.where(size < CONSTANTS["LARGE"], large, _f32(1))
    return np.where(size < CONSTANTS["SMALL"], small, np.copysign(large, x))


def _linear(layer: LinearLayer, x: np.ndarray) -> np.ndarray:
    if layer.step is not None:
        # Exact in float64, whose whole numbers go up to 2^53.
        sums = (x.astype(np.float64) @ layer.weight.T.astype(np.float64)).astype(np.int32).astype(_f32)
    else:
        sums = np.concatenate([_sums(layer.weight.astype(_f32), part.T.copy()) for part in np.split(x, _cuts(x))])
    if layer.factor is not None:
        sums = sums * layer.factor
    return sums if layer.bias is None else sums + layer.bias


def _sums(weight: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the sums (states, out) of a weight (out, in) and an input (in, states)."""
    sums = np.zeros((len(weight), x.shape[1]), _f32)
    for weights, numbers in zip(weight.T, x, strict=True):
        rows = weights.nonzero()[0]
        sums[rows] += weights[rows, None] * numbers
    return sums.T


def _cuts(x: np.ndarray) -> list[int]:
    return list(range(_CHUNK, len(x), _CHUNK))


def _silu(x: np.ndarray) -> np.ndarray:
    half = _f32(0.5) * x
    return half + half * _tanh(half)


def _clip_box(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return np.where(x > low, np.where(x < high, x, high), low)


def _tanh_box(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    # Rounding may leave the box by a hair.
    return _clip_box(low + (_tanh(x) + _f32(1)) * _f32(0.5) * (high - low), low, high)


_OPERATIONS: dict[str, Callable[..., np.ndarray]] = {
    "standardize": lambda x, mean, std: (x - mean) / std,
    "divide": lambda x, by: x / by,
    "relu": lambda x: np.where(x > 0, x, _f32(0)),
    "tanh": _tanh,
    "silu": _silu,
    "clip_box": _clip_box,
    "tanh_box": _tanh_box,
    "round": lambda x, step: _round_levels(x, step[0]).astype(_f32) * step,
}
