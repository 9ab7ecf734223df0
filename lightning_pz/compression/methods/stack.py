"""All methods on one weight, pruning among them: turns a stored weight into the one that a layer works with."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from lightning_pz.common.errors import UserError
from lightning_pz.compression.methods.l0 import HardConcrete
from lightning_pz.compression.methods.low_rank import Factors
from lightning_pz.compression.methods.quantize import fake_levels

LAYERS = (nn.Linear, nn.Conv2d)
"""Modules whose weight can be compressed."""


class Mask(nn.Module):
    """A parametrization that holds weights at zero: `w = theta * mask`; no gradient reaches a masked weight."""

    keep: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("keep", torch.ones(shape, dtype=torch.bool))

    def forward(self, weight: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        # Not a product: zero times an infinite weight would not be zero.
        return torch.where(self.keep, weight, 0.0)

    @torch.no_grad()
    def shrink(self, weight: Float[Tensor, "..."], kept: int) -> None:
        """Keep only the `kept` largest of the weights still kept; no weight comes back."""
        self.keep &= magnitude_mask(weight, self.keep, kept)


def magnitude_mask(weight: Float[Tensor, "..."], keep: Bool[Tensor, "..."], kept: int) -> Bool[Tensor, "..."]:
    """Return the mask of the `kept` largest weights, or all, among those kept so far; of equal ones the first."""
    size = torch.where(keep, weight.abs(), -1.0).flatten()
    kept = min(kept, int(keep.sum()))
    if kept == 0:
        return torch.zeros_like(keep)
    # The k-th value is found several times faster than all are sorted.
    mask = size > (least := size.kthvalue(size.numel() - kept + 1).values)
    ties = (size == least).nonzero().flatten()
    mask[ties[: kept - int(mask.sum())]] = True
    return mask.view_as(keep)


class Stack(nn.Module):
    """`w = round(mask(gates(theta)))`, each part where it is switched on; or `round(left) @ round(right)`.

    What is rounded is on levels of 8 or 4 bits.
    """

    def __init__(self, weight: Float[Tensor, "out ..."], bits: int = 8, *, per_channel: bool = False) -> None:
        super().__init__()
        self.bits, self.per_channel = bits, per_channel  # of the levels; whether each output channel has a scale
        self.mask = Mask(tuple(weight.shape)).to(weight.device)
        self.gates: HardConcrete | None = None
        self.factors: Factors | None = None
        self.rounds = False

    def forward(self, weight: Float[Tensor, "out ..."]) -> Float[Tensor, "out ..."]:
        """Return the weight that the layer works with."""
        if self.factors is not None:
            self.factors.rounds = self.rounds
            return self.factors(weight)
        if self.gates is not None:
            weight = self.gates(weight)
        weight = self.mask(weight)
        return fake_levels(weight, self.bits, per_channel=self.per_channel) if self.rounds else weight

    def add_gates(self, start: float) -> None:
        """Put a gate on every weight, open with this probability."""
        self.gates = HardConcrete(tuple(self.mask.keep.shape), start).to(self.mask.keep.device)

    @torch.no_grad()
    def close_gates(self, weight: Tensor) -> Tensor:
        """Make the gates final: closed ones become the mask; return the weight with open ones multiplied in."""
        if self.gates is None:
            return weight
        final = self.gates.eval()(weight)
        self.mask.keep &= self.gates.open()
        self.gates = None
        return final

    def factorize(self, weight: Float[Tensor, "out ..."], rank: int) -> None:
        """Put two factors of a rank in the place of the weight."""
        with torch.no_grad():
            self.factors = Factors(self.forward(weight), rank, self.bits, per_channel=self.per_channel)

    def state(self) -> dict[str, Any]:
        """Return plain data and tensors for `restore`."""
        return {
            "int8": self.rounds,  # at 4 bits too: the name is that of states already saved
            "gates": self.gates is not None,
            "rank": None if self.factors is None else self.factors.left.shape[1],
            "tensors": self.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Bring a stack without factors to a saved state."""
        self.rounds, self.gates = state["int8"], None
        if state["gates"]:
            self.add_gates(0.5)
        if state["rank"] is not None:
            nothing = torch.zeros_like(self.mask.keep, dtype=torch.float32)
            self.factors = Factors(nothing, state["rank"], self.bits, per_channel=self.per_channel)
        self.load_state_dict(state["tensors"])


def layers_of(network: nn.Module) -> dict[str, nn.Linear | nn.Conv2d]:
    """Return the layers that can be compressed, by name, in order."""
    return {name: module for name, module in network.named_modules() if isinstance(module, LAYERS)}


def check_finite(network: nn.Module) -> None:
    """Raise `UserError` if a weight, a bias or a number of a fixed layer, but a bound, is not a finite number."""
    fixed = ((name, one) for name, one in network.named_buffers() if name.rpartition(".")[2] in ("mean", "std"))
    for name, parameter in (*network.named_parameters(), *fixed):
        if not torch.isfinite(parameter).all():
            raise UserError(
                f"expected finite weights, but {name} holds {int((~torch.isfinite(parameter)).sum())} that are not: "
                "the training diverged, or the file is damaged"
            )
