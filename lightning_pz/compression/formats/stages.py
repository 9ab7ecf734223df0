"""A stored network of linear layers as stages in a fixed order of float operations, for C and for its reference.

A stage is a linear layer (the first may have none), then operations on each of its numbers by itself, and an end: float32, or
int8 levels, which the next layer sums as integers. The order of every operation is written in
`lightning_pz.compression.formats.reference_forward`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lightning_pz.common.errors import UserError
from lightning_pz.compression.formats.network_file import StoredNetwork
from lightning_pz.compression.methods.quantize import LEVELS
from lightning_pz.policy.network_plan import NetworkPlan

_WORDS = {"conv": "convolutions", "maxpool": "pooling", "residual": "residual blocks"}


@dataclass(frozen=True)
class LinearLayer:
    """`y = x W^T`, scaled, plus the bias."""

    weight: np.ndarray  # (out, in), levels in int8, or float32
    scale: np.ndarray | None  # of the levels, (1,) or (out,) float32; None for float weights
    bias: np.ndarray | None  # (out,) float32
    bits: int | None = None  # of a level, 8 or 4
    step: np.float32 | None = None  # of x, if that holds int8 levels too

    @property
    def factor(self) -> np.ndarray | None:
        """By what a sum of products of levels is multiplied: the scale, times the step where there is one."""
        return self.scale if self.scale is None or self.step is None else self.scale * self.step


@dataclass
class Stage:
    """A layer, what is done with each number afterwards, and the step of the levels that it ends in, if any."""

    linear: LinearLayer | None
    operations: list[tuple[str, dict[str, np.ndarray]]] = field(default_factory=list)
    step: np.float32 | None = None

    def size(self, before: int) -> int:
        """Return how many numbers there are after it, if there were so many before."""
        return before if self.linear is None else len(self.linear.weight)


def stages_of(stored: StoredNetwork) -> list[Stage]:
    """Return the stages of a network; `UserError` for one that has other layers than linear ones."""
    stages = [Stage(None)]
    for step in _flat(stored.plan):
        kind, arrays = step["kind"], {key: _array(stored, step[key]) for key in _NAMED if step.get(key)}
        if kind == "linear":
            scale = stored.scales[step["weight"]]
            weight = stored.numbers[step["weight"]].numpy()
            layer = LinearLayer(weight, None if scale is None else scale.numpy(), arrays.get("bias"), stored.bits)
            stages.append(Stage(_after_levels(stages[-1], layer)))
        elif kind == "box":
            stages[-1].operations.append((step["squash"] + "_box", arrays))
        elif kind == "divide":
            stages[-1].operations.append((kind, {"by": np.array([step["by"]], np.float32)}))
        elif kind == "round":
            stages[-1].operations.append(
                (kind, {"step": np.array([step["largest"] or LEVELS], np.float32) / np.float32(LEVELS)})
            )
        else:
            stages[-1].operations.append((kind, arrays))
    return stages if stages[0].operations else stages[1:]


def check_linear(plan: NetworkPlan) -> None:
    """Raise `UserError` for a network that has other layers than linear ones."""
    list(_flat(plan))


_NAMED = ("bias", "mean", "std", "low", "high")


def _after_levels(before: Stage, layer: LinearLayer) -> LinearLayer:
    """Let a layer of levels that follows a rounding take the levels themselves."""
    if not before.operations or before.operations[-1][0] != "round" or layer.scale is None:
        return layer
    before.step = before.operations.pop()[1]["step"][0]
    return replace(layer, step=before.step)


def _flat(plan: NetworkPlan) -> Iterator[dict[str, Any]]:
    for step in plan:
        kind = step["kind"]
        if kind in _WORDS:
            raise UserError(
                f"--format c writes networks of linear layers, but this one has {_WORDS[kind]}: leave c out of --format"
            )
        if kind == "sequential":
            yield from _flat(step["body"])
        elif kind not in ("identity", "flatten") and not (kind == "round" and not step["on"]):
            yield step


def _array(stored: StoredNetwork, name: str) -> np.ndarray:
    return stored.numbers[name].float().numpy()
