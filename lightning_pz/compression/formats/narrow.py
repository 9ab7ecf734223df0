"""Numbers in few bits, the same in files and C headers: levels of 4 bits two to a byte, and bfloat16 scales.

The first level of a byte is in its low half, each as level + 8. A bfloat16 is the upper half of a float32.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int8, UInt8, UInt16

_ZERO = 8


def pack(levels: Int8[np.ndarray, " count"]) -> UInt8[np.ndarray, " bytes"]:
    """Return levels from -7 to 7 in `ceil(count / 2)` bytes; the last half of an odd number is a level of 0."""
    halves = np.append(levels, np.zeros(len(levels) % 2, np.int8)).astype(np.uint8) + np.uint8(_ZERO)
    return halves[::2] | halves[1::2] << 4


def unpack(packed: UInt8[np.ndarray, " bytes"], count: int) -> Int8[np.ndarray, " count"]:
    """Return the first `count` levels; raise `ValueError` unless there are as many bytes as they take."""
    if len(packed) != -(-count // 2):
        raise ValueError(f"expected {-(-count // 2)} bytes of {count} levels, but got {len(packed)}")
    halves = np.stack([packed & 15, packed >> 4], axis=1).ravel()[:count]
    return halves.astype(np.int8) - np.int8(_ZERO)


def upper_halves(numbers: Float[np.ndarray, " count"]) -> UInt16[np.ndarray, " count"]:
    """Return float32 numbers, whose lower halves are zero, as bfloat16."""
    return (np.ascontiguousarray(numbers, "<f4").view("<u4") >> 16).astype("<u2")


def from_upper_halves(halves: UInt16[np.ndarray, " count"]) -> Float[np.ndarray, " count"]:
    """Return the float32 numbers that `upper_halves` was given."""
    return (halves.astype("<u4") << 16).view("<f4")
