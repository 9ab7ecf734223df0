"""Forms of a weight matrix in a C header: all numbers, a bitmap, or compressed rows; whichever takes the fewest bytes.

| form | arrays | bytes |
|---|---|---|
| `dense` | every number | out * in * number |
| `bitmap` | a bit per place, rows of whole bytes, and the numbers | out * ceil(in / 8) + nonzero * number |
| `rows` | how many numbers each row has, their columns, the numbers | out * count + nonzero * (column + number) |

A number is 4 bytes or 1; levels of 4 bits are two to a byte, dense ones in rows of whole bytes. Counts and columns are of
the narrowest unsigned type of C99 that holds them. In contrast to `codecs`, a chip can read these where they lie.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from lightning_pz.compression.formats import narrow

FormKind = Literal["dense", "bitmap", "rows"]


@dataclass(frozen=True)
class WeightForm:
    """A matrix in one form."""

    kind: FormKind
    arrays: dict[str, np.ndarray]  # `value`, and `bit` or `count` and `column`

    @property
    def size(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self.arrays.values())


def forms_of(weight: np.ndarray, *, packed: bool = False) -> dict[FormKind, WeightForm]:
    """Return a matrix (out, in) of int8 or float32 in every form; if `packed`, its levels from -7 to 7 two to a byte."""
    whole = narrow.pack if packed else np.ravel
    places, columns = weight != 0, weight.shape[1]
    numbers = weight[places]
    if not len(numbers):
        numbers = np.zeros(1, weight.dtype)  # C has no empty arrays
    counts, where = places.sum(1), np.nonzero(places)[1]
    if not len(where):
        where = np.zeros(1, np.int64)
    arrays: dict[FormKind, dict[str, np.ndarray]] = {
        # Rows of whole bytes, so that a chip can take both levels of a byte in one step.
        "dense": {"value": whole(np.pad(weight, ((0, 0), (0, columns % 2 if packed else 0))).ravel())},
        "bitmap": {"bit": np.packbits(places, axis=1, bitorder="little").ravel(), "value": whole(numbers)},
        "rows": {
            "count": counts.astype(np.min_scalar_type(int(counts.max()))),
            "column": where.astype(np.min_scalar_type(columns - 1)),
            "value": whole(numbers),
        },
    }  # fmt: skip
    return {kind: WeightForm(kind, given) for kind, given in arrays.items()}


def smallest_form(weight: np.ndarray, *, packed: bool = False) -> WeightForm:
    """Return a matrix in the form of the fewest bytes, of equal ones the simplest."""
    return min(forms_of(weight, packed=packed).values(), key=lambda form: form.size)
