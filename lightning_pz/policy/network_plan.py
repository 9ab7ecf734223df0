"""A network as plain data: a list of dictionaries, one per module, and the tensors that they name.

| `kind` | other keys | meaning |
|---|---|---|
| `relu`, `tanh`, `silu`, `flatten`, `identity` | | |
| `linear` | `weight`, `bias` (None: none) | weight (out, in) |
| `conv` | `weight`, `bias`, `stride`, `padding` | weight (out, in, height, width) |
| `maxpool` | `sizes` | kernel, stride and padding |
| `standardize` | `mean`, `std` | `(x - mean) / std` |
| `divide` | `by` | `x / by` |
| `box` | `squash`, `low`, `high` | `tanh` scales to the box, `clip` cuts off at it |
| `round` | `largest`, `on` | int8 levels of -largest to largest, if on |
| `sequential`, `residual` | `body` | a plan; its output, or input plus output |
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

NetworkPlan = list[dict[str, Any]]
Tensors = dict[str, Tensor]


def weight_names(plan: NetworkPlan) -> list[str]:
    """Return the names of all weights in a plan, in order."""
    nested = ([step["weight"]] if "weight" in step else weight_names(step.get("body", [])) for step in plan)
    return [name for names in nested for name in names]
