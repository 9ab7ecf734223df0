"""The shape of a policy network, and the order of its weights in one flat vector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_pz.common.checks import one_of
from lightning_pz.common.errors import UserError
from lightning_pz.policy.heads import Head

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh, "relu": torch.relu, "silu": nn.functional.silu, "linear": lambda x: x,
}  # fmt: skip
ACTIVATION_MODULES: dict[str, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "linear": nn.Identity,
}


@dataclass(frozen=True)
class Layout:
    """An MLP from standardized observations to distributions of actions: sizes, activation and head, no weights.

    The flat vector holds layer after layer, first the weight (out, in) row by row, then the bias (out),
    the very order of `torch.nn.utils.parameters_to_vector` on the equivalent `torch.nn.Sequential`. Raises `UserError`
    for a size below 1 or an unknown activation, `ValueError` for a head of another number of choices.
    """

    observation_size: int
    hidden: tuple[int, ...]  # widths from input to output; empty for an affine policy
    action_size: int  # numbers in an action
    activation: str = "tanh"  # of hidden layers, one of `ACTIVATIONS`
    head: Head = field(default_factory=Head)

    def __post_init__(self) -> None:
        if min(self.sizes) < 1:
            raise UserError(f"a layout needs sizes of at least 1, but got {self.sizes}: check --policy.hidden")
        one_of("policy.activation", self.activation, tuple(ACTIVATIONS))
        if self.head.choices and len(self.head.choices) != self.action_size:
            raise ValueError(f"actions of {self.action_size} numbers need as many choices, but got {self.head.choices}")

    def __setstate__(self, state: dict[str, Any]) -> None:
        # States of searches from before heads hold none.
        self.__dict__.update({"head": Head()} | state)

    @cached_property
    def feature_size(self) -> int:
        """Behavior features on a state, as many as the last layer has numbers."""
        return self.head.output_size(self.action_size)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Widths of all layers, observation and last layer included."""
        return (self.observation_size, *self.hidden, self.feature_size)

    @cached_property
    def weight_shapes(self) -> tuple[tuple[int, int], ...]:
        """The (out, in) shape of each layer's weight."""
        return tuple((out, size) for size, out in zip(self.sizes, self.sizes[1:], strict=False))

    @cached_property
    def num_params(self) -> int:
        """P, the length of the flat vector."""
        return sum(out * size + out for out, size in self.weight_shapes)

    @cached_property
    def split_sizes(self) -> list[int]:
        """Lengths of weight, bias, weight, bias, ... in the flat vector."""
        return [length for out, size in self.weight_shapes for length in (out * size, out)]

    def unpack(
        self, params: Float[Tensor, "policies params"]
    ) -> list[tuple[Float[Tensor, "policies _ _"], Float[Tensor, "policies _"]]]:
        """Cut flat vectors into (weight, bias) per layer, as views; raise `ValueError` unless they are P long."""
        if params.shape[-1] != self.num_params:
            raise ValueError(f"{self} has {self.num_params} params, but got vectors of {params.shape[-1]}")
        # One `split` rather than slices: its backward concatenates once instead of adding padded copies.
        parts = params.split(self.split_sizes, dim=-1)
        return [(parts[2 * i].unflatten(-1, shape), parts[2 * i + 1]) for i, shape in enumerate(self.weight_shapes)]

    def pack(
        self, layers: list[tuple[Float[Tensor, "policies _ _"], Float[Tensor, "policies _"]]]
    ) -> Float[Tensor, "policies params"]:
        """Join (weight, bias) per layer into flat vectors; the inverse of `unpack`."""
        return torch.cat([part.flatten(1) for layer in layers for part in layer], dim=-1)

    def to_sequential(self, params: Float[Tensor, " params"]) -> nn.Sequential:
        """Build the equivalent `torch.nn.Sequential` of one policy (no standardization).

        It gives the actions of a `tanh` head, in half action boxes, and the last layer's numbers of any other.
        """
        activation = ACTIVATION_MODULES[self.activation]
        pairs = ((nn.Linear(size, out), activation()) for out, size in self.weight_shapes)
        network = nn.Sequential(*(module for pair in pairs for module in pair))
        network[-1] = nn.Tanh() if self.head.kind == "tanh" else nn.Identity()
        nn.utils.vector_to_parameters(params.detach().clone(), network.parameters())
        return network

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON and checkpoints; without the head if it is `tanh`, as ever."""
        plain = asdict(self) | {"hidden": list(self.hidden), "head": self.head.to_dict()}
        return {key: value for key, value in plain.items() if (key, value) != ("head", {"kind": "tanh"})}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Layout:
        """Build a layout from a result of `to_dict`."""
        head = Head.from_dict(plain.get("head", {}))
        return cls(plain["observation_size"], tuple(plain["hidden"]), plain["action_size"], plain["activation"], head)
