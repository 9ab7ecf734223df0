"""The modules that policy networks are made of, and `nn.Sequential`s of them to and from plain data.

A network takes a raw observation and gives an action, or scores of the actions to choose from.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lightning_pz.common.errors import UserError
from lightning_pz.compression.methods.quantize import ActivationInt8
from lightning_pz.policy.network_plan import NetworkPlan, Tensors


class Standardize(nn.Module):
    """Subtracts a fixed mean and divides by a fixed standard deviation; (O,) each, in the observation's units."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.detach().float().clone())
        self.register_buffer("std", std.detach().float().clone())

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class Divide(nn.Module):
    """Divides by a number: 255 for images of bytes."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, x: Tensor) -> Tensor:
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
        if self.squash == "tanh":
            return self.low + (torch.tanh(x) + 1) * 0.5 * (self.high - self.low)
        return torch.minimum(torch.maximum(x, self.low), self.high)


class Residual(nn.Module):
    """Adds the output of its body to the input."""

    def __init__(self, body: nn.Sequential) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


_SIMPLE = {"relu": nn.ReLU, "tanh": nn.Tanh, "silu": nn.SiLU, "flatten": nn.Flatten, "identity": nn.Identity}
_KINDS: dict[type[nn.Module], str] = {made: kind for kind, made in _SIMPLE.items()}


def to_plan(network: nn.Sequential, prefix: str = "") -> tuple[NetworkPlan, Tensors]:
    """Return the plan of a network and copies of its tensors; raise `UserError` for a module that no plan can hold."""
    parts = [_describe(module, f"{prefix}{number}") for number, module in enumerate(network)]
    tensors = {name: tensor.detach().cpu().clone() for _, named in parts for name, tensor in named.items()}
    return [step for step, _ in parts], tensors


def from_plan(plan: NetworkPlan, tensors: Tensors) -> nn.Sequential:
    """Build the network that a plan describes, in evaluation mode."""
    return nn.Sequential(*(_build(step, tensors) for step in plan)).eval()


def copy_of(network: nn.Sequential) -> nn.Sequential:
    """Return a network of its own with the same values."""
    return from_plan(*to_plan(network))


def _describe(module: nn.Module, name: str) -> tuple[dict[str, Any], Tensors]:
    # Keys of the plan to names of tensors, and these to tensors.
    own = {key: f"{name}.{key}" for key in ("weight", "bias", "mean", "std", "low", "high") if hasattr(module, key)}
    tensors: Tensors = {full: value for key, full in own.items() if (value := getattr(module, key)) is not None}
    match module:
        case nn.Flatten() if (module.start_dim, module.end_dim) != (1, -1):
            refused = "a flattening of some dimensions only"
        case _ if type(module) in _KINDS:
            return {"kind": _KINDS[type(module)]}, {}
        case nn.Sequential():
            body, tensors = to_plan(module, f"{name}.")
            return {"kind": "sequential", "body": body}, tensors
        case Residual():
            body, tensors = to_plan(module.body, f"{name}.body.")
            return {"kind": "residual", "body": body}, tensors
        case nn.Linear() | nn.Conv2d():
            step = {"weight": own["weight"], "bias": None if module.bias is None else own["bias"]}
            if isinstance(module, nn.Linear):
                return {"kind": "linear", **step}, tensors
            plain = module.groups == 1 and module.dilation == (1, 1) and module.padding_mode == "zeros"
            if plain and not isinstance(module.padding, str):
                return {"kind": "conv", **step, "stride": list(module.stride), "padding": list(module.padding)}, tensors
            refused = "a convolution that is grouped, dilated, or padded with other than zeros"
        case nn.MaxPool2d():
            if not (module.ceil_mode or module.return_indices or module.dilation not in (1, (1, 1))):
                sizes = (module.kernel_size, module.stride, module.padding)
                return {"kind": "maxpool", "sizes": [list(s) if isinstance(s, tuple) else s for s in sizes]}, {}
            refused = "a pooling that is dilated or rounds sizes up"
        case Standardize():
            return {"kind": "standardize", **own}, tensors
        case Divide():
            return {"kind": "divide", "by": module.by}, {}
        case ToBox():
            return {"kind": "box", "squash": module.squash, **own}, tensors
        case ActivationInt8():
            return {"kind": "round", "largest": float(module.largest), "on": module.on}, {}
        case _:
            refused = f"a {type(module).__name__} inside a policy"
    raise UserError(f"{refused} cannot be written to a compressed file")


def _build(step: dict[str, Any], tensors: Tensors) -> nn.Module:
    match step["kind"]:
        case kind if kind in _SIMPLE:
            return _SIMPLE[kind]()
        case "sequential":
            return from_plan(step["body"], tensors)
        case "residual":
            return Residual(from_plan(step["body"], tensors))
        case "maxpool":
            return nn.MaxPool2d(*step["sizes"])
        case "divide":
            return Divide(step["by"])
        case "standardize":
            return Standardize(tensors[step["mean"]], tensors[step["std"]])
        case "box":
            return ToBox(tensors[step["low"]], tensors[step["high"]], step["squash"])
        case "round":
            rounding = ActivationInt8()
            rounding.largest.fill_(step["largest"])
            rounding.on = step["on"]
            return rounding
    weight, bias = tensors[step["weight"]], None if step["bias"] is None else tensors[step["bias"]]
    sizes, is_linear, biased = (weight.shape[1], weight.shape[0]), step["kind"] == "linear", bias is not None
    layer: nn.Linear | nn.Conv2d = (
        nn.Linear(*sizes, bias=biased)
        if is_linear
        else nn.Conv2d(*sizes, weight.shape[2:], step["stride"], step["padding"], bias=biased)  # type: ignore[arg-type]
    )
    layer.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))
    return layer
