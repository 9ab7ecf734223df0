"""Arithmetic that has to agree with Gymnasium's scalar code to the last bit."""

from __future__ import annotations

import math

import numpy as np


def scalar_square(x: np.ndarray) -> np.ndarray:
    """Return `x ** 2` as Gymnasium gets it from a float64 scalar, (n,) float64.

    NumPy squares an array by multiplication, but hands a scalar to the C library's `pow`, which is one unit
    in the last place off for about one number in a thousand.
    """
    try:
        return np.fromiter(map(pow, x.tolist(), [2] * len(x)), dtype=np.float64, count=len(x))
    except OverflowError:
        return np.square(x, dtype=np.float64)


def scalar_cos(x: np.ndarray) -> np.ndarray:
    """Return `math.cos` of each number, (n,) float64; `numpy.cos` may use another, vectorized algorithm."""
    try:
        return np.fromiter(map(math.cos, x.tolist()), dtype=np.float64, count=len(x))
    except ValueError:  # math.cos refuses infinity
        return np.cos(x, dtype=np.float64)
