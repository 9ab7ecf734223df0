"""Policy networks as plain `nn.Sequential`s that can be written down: raw observation in, action or scores out.

A *plan* is a list of plain dictionaries, one per module, and the tensors they need, by name. What a plan can hold is
what Stable-Baselines3's networks and this package's policies are made of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_pz.common.errors import UserError
from lightning_pz.compression.methods.quantize import ActivationInt8
from lightning_pz.policy.saved import SavedPolicy

Plan = list[dict[str, Any]]
Tensors = dict[str, Tensor]


class Standardize(nn.Module):
    """Takes a fixed mean off and divides by a fixed standard deviation; (O,) each, in the observation's units."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.detach().float().clone())
        self.register_buffer("std", std.detach().float().clone())

    def forward(self, x: Tensor) -> Tensor:
        """Return the standardized observation."""
        return (x - self.mean) / self.std


class Divide(nn.Module):
    """Divides by a number: 255 for images of bytes."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, x: Tensor) -> Tensor:
        """Return the quotient."""
        return x / self.by


class ToBox(nn.Module):
    """Brings the last layer into the action box: `tanh` scales it there, `clip` cuts it off; low and high are (A,)."""

    low: Tensor
    high: Tensor

    def __init__(self, low: Tensor, high: Tensor, squash: str) -> None:
        super().__init__()
        self.squash = squash
        self.register_buffer("low", low.detach().float().clone())
        self.register_buffer("high", high.detach().float().clone())

    def forward(self, x: Tensor) -> Tensor:
        """Return actions inside the box."""
        if self.squash == "tanh":
            return self.low + (torch.tanh(x) + 1) * 0.5 * (self.high - self.low)
        return torch.minimum(torch.maximum(x, self.low), self.high)


class Residual(nn.Module):
    """Adds what its body makes of the input to the input."""

    def __init__(self, body: nn.Sequential) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """Return `x + body(x)`."""
        return x + self.body(x)


_SIMPLE: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "flatten": nn.Flatten,
    "identity": nn.Identity,
}


def to_plan(network: nn.Sequential, prefix: str = "") -> tuple[Plan, Tensors]:
    """Write a network down.

    Raises:
        UserError: It holds a module that no plan can hold.
    """
    plan: Plan = []
    tensors: Tensors = {}
    for number, module in enumerate(network):
        name = f"{prefix}{number}"
        kind = next((word for word, make in _SIMPLE.items() if type(module) is make), None)
        if isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) != (1, -1):
            raise UserError("a flattening of some dimensions only cannot be written to a compressed file")
        if kind is not None:
            plan.append({"kind": kind})
            continue
        if isinstance(module, nn.Sequential):
            body, more = to_plan(module, f"{name}.")
            plan.append({"kind": "sequential", "body": body})
        elif isinstance(module, Residual):
            body, more = to_plan(module.body, f"{name}.body.")
            plan.append({"kind": "residual", "body": body})
        elif isinstance(module, nn.Linear):
            plan.append({"kind": "linear", "weight": f"{name}.weight", "bias": _bias(module, name)})
            more = _named(name, module)
        elif isinstance(module, nn.Conv2d):
            _check_conv(module)
            plan.append({
                "kind": "conv", "weight": f"{name}.weight", "bias": _bias(module, name),
                "stride": list(module.stride), "padding": list(module.padding),
            })  # fmt: skip
            more = _named(name, module)
        elif isinstance(module, nn.MaxPool2d):
            if module.ceil_mode or module.return_indices or module.dilation not in (1, (1, 1)):
                raise UserError("a pooling that is dilated or rounds sizes up cannot be written to a compressed file")
            sizes = (module.kernel_size, module.stride, module.padding)
            plan.append({"kind": "maxpool", "sizes": [list(s) if isinstance(s, tuple) else s for s in sizes]})
            more = {}
        elif isinstance(module, Standardize):
            plan.append({"kind": "standardize", "mean": f"{name}.mean", "std": f"{name}.std"})
            more = {f"{name}.mean": module.mean, f"{name}.std": module.std}
        elif isinstance(module, Divide):
            plan.append({"kind": "divide", "by": module.by})
            more = {}
        elif isinstance(module, ToBox):
            plan.append({"kind": "box", "squash": module.squash, "low": f"{name}.low", "high": f"{name}.high"})
            more = {f"{name}.low": module.low, f"{name}.high": module.high}
        elif isinstance(module, ActivationInt8):
            plan.append({"kind": "round", "largest": float(module.largest), "on": module.on})
            more = {}
        else:
            raise UserError(f"a {type(module).__name__} inside a policy cannot be written to a compressed file")
        tensors |= more
    return plan, {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}


def from_plan(plan: Plan, tensors: Tensors) -> nn.Sequential:
    """Build the network that a plan describes, in evaluation mode."""
    return nn.Sequential(*(_build(step, tensors) for step in plan)).eval()


def _build(step: dict[str, Any], tensors: Tensors) -> nn.Module:
    kind = step["kind"]
    if kind in _SIMPLE:
        return _SIMPLE[kind]()
    if kind == "sequential":
        return from_plan(step["body"], tensors)
    if kind == "residual":
        return Residual(from_plan(step["body"], tensors))
    if kind == "maxpool":
        return nn.MaxPool2d(*step["sizes"])
    if kind == "divide":
        return Divide(step["by"])
    if kind == "standardize":
        return Standardize(tensors[step["mean"]], tensors[step["std"]])
    if kind == "box":
        return ToBox(tensors[step["low"]], tensors[step["high"]], step["squash"])
    if kind == "round":
        rounding = ActivationInt8()
        rounding.largest.fill_(step["largest"])
        rounding.on = step["on"]
        return rounding
    weight, bias = tensors[step["weight"]], step["bias"]
    layer: nn.Module
    if kind == "linear":
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    else:
        layer = nn.Conv2d(
            weight.shape[1], weight.shape[0], (weight.shape[2], weight.shape[3]),
            stride=tuple(step["stride"]), padding=tuple(step["padding"]), bias=bias is not None,
        )  # fmt: skip
    layer.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": tensors[bias]}))
    return layer


def from_saved(policy: SavedPolicy) -> nn.Sequential:
    """Build the network of a `policy.npz`: raw observation in, action inside the box out."""
    body = list(policy.layout.to_sequential(policy.params))[:-1]
    return nn.Sequential(
        Standardize(policy.observation_mean, policy.observation_std),
        *body,
        ToBox(policy.action_low, policy.action_high, policy.squash),
    )


def copy_of(network: nn.Sequential) -> nn.Sequential:
    """Return a network of its own with the same values."""
    return from_plan(*to_plan(network))


@torch.no_grad()
def outputs(
    network: nn.Sequential, observations: Float[Tensor, "states ..."], chunk: int = 4096
) -> Float[Tensor, "states output"]:
    """Return actions or scores on many raw observations, a chunk at a time."""
    return torch.cat([network(part) for part in observations.split(chunk)])


def fvu(got: Float[Tensor, "states output"], wanted: Float[Tensor, "states output"], *, scores: bool = False) -> float:
    """Return the share of the wanted outputs' variance over states that is missed; 0 is the same behavior.

    Args:
        got: Actions or scores of the compressed policy.
        wanted: Those of the original.
        scores: Whether they are scores of actions: then what all actions of a state have in common does not count.
    """
    if scores:
        got, wanted = got - got.mean(1, keepdim=True), wanted - wanted.mean(1, keepdim=True)
    missed, spread = (got - wanted).double().square().sum(), (wanted - wanted.mean(0)).double().square().sum()
    return float(missed / spread.clamp_min(1e-12))


def _bias(module: nn.Linear | nn.Conv2d, name: str) -> str | None:
    return None if module.bias is None else f"{name}.bias"


def _named(name: str, module: nn.Linear | nn.Conv2d) -> Tensors:
    named = {f"{name}.weight": module.weight.data}
    return named if module.bias is None else named | {f"{name}.bias": module.bias.data}


def _check_conv(module: nn.Conv2d) -> None:
    plain = module.groups == 1 and module.dilation == (1, 1) and module.padding_mode == "zeros"
    if not plain or isinstance(module.padding, str):
        raise UserError(
            "a convolution that is grouped, dilated, or padded with other than zeros cannot be written to a compressed file"
        )
