"""Applies a compression to a network's weights during training: gates, masks, factors and levels, each in its time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_pz.common.errors import UserError
from lightning_pz.compression.formats.codecs import SPARSE, encode
from lightning_pz.compression.measures import output_fvu, outputs
from lightning_pz.compression.methods import low_rank
from lightning_pz.compression.methods.l0 import HardConcrete
from lightning_pz.compression.methods.quantize import ActivationInt8
from lightning_pz.compression.methods.schedule import kept_counts
from lightning_pz.compression.methods.stack import Stack, check_finite, layers_of
from lightning_pz.compression.modules import copy_of
from lightning_pz.compression.settings import CompressSettings

States = Callable[[], Tensor]


@dataclass(frozen=True)
class Compressed:
    """A policy after its compression."""

    whole: nn.Sequential  # with whole layers
    final: nn.Sequential  # with low-rank layers split in two
    compressor: Compressor  # at its last step
    env_steps: int
    model: Any = None  # the Stable-Baselines3 model, if that trained it; its layers hold the finished weights
    earlier_seconds: float = 0.0  # CPU seconds of the processes that were interrupted before


class Compressor:
    """Compresses the layers of a network during a training that is run elsewhere.

    A training has N steps, with int8 or int4 N `int8_share` more. Between `ramp.begin` and `ramp.end` weights are pruned; gates
    exist from the start, their penalty between the same shares. At `ramp.end` gates become final and factors replace
    layers. From N on, weights are rounded to levels.

    Factors learn at Adam's `learning_rate`, that of the weights that they replace. `states` makes observations,
    (S, ...), on which a rank by behavior error is chosen.

    Raises:
        UserError: Weights that are not finite, or too high a rank or sparsity for the layers.
    """

    def __init__(
        self, network: nn.Sequential, settings: CompressSettings, learning_rate: float, states: States | None = None
    ) -> None:
        check_finite(network)
        self.network, self.settings, self.learning_rate, self.states = network, settings, learning_rate, states
        self.layers = layers_of(network)
        bits = settings.bits or 8
        self.stacks = {
            name: Stack(module.weight, bits, per_channel=settings.per_channel(bits))
            for name, module in self.layers.items()
        }
        # Stored weights, before masks and rounding: the layers' own, until a `Shadow` keeps copies.
        self.weights: dict[str, Tensor] = {name: module.weight for name, module in self.layers.items()}
        self.gates_closed: float | None = None  # share of the gates that were closed when they became final
        self.extra: torch.optim.Optimizer | None = None  # moves gates or factors
        self.settled = False  # whether gates are final and ranks chosen
        self._generator = torch.Generator().manual_seed(settings.seed)
        self._step, self._rounds = 0, False
        if settings.has("prune"):
            shapes = [tuple(weight.shape) for weight in self.weights.values()]
            kept = kept_counts(shapes, settings.sparsity, settings.distribution)
            self._pruned = {n: w.numel() - count for (n, w), count in zip(self.weights.items(), kept, strict=True)}
        if settings.has("low_rank") and (rank := settings.low_rank.rank) is not None:
            for name, weight in self.weights.items():
                if rank > (most := min(matrix := weight.flatten(1).shape)):
                    raise UserError(
                        f"--low_rank.rank expects at most {most}, the rank of layer {name} of {matrix[0]} x {matrix[1]} "
                        f"weights, but got {rank}: choose a smaller one, or --low_rank.params, which suits each layer"
                    )
        if settings.has("l0"):
            for stack in self.stacks.values():
                stack.add_gates(settings.l0.start)
            self._make_extra()
            self.draw()

    def train(self, mode: bool) -> None:
        """Switch between noisy gates and those of the finished network."""
        for stack in self.stacks.values():
            stack.train(mode)

    def draw(self) -> None:
        """Draw new noise for the gates."""
        for gates in self.gates:
            gates.draw(self._generator)

    def advance(self, step: int) -> bool:
        """Do everything that is due after so many steps, 0 to `settings.total_steps()`; return whether anything was."""
        settings, base = self.settings, self.settings.base_steps()
        self._step, changed = step, False
        if settings.has("prune"):
            share = settings.ramp.share(step, base)
            for name, stack in self.stacks.items():
                kept = self.weights[name].numel() - round(share * self._pruned[name])
                if kept < int(stack.mask.keep.sum()):
                    stack.mask.shrink(self.weights[name].detach(), kept)
                    changed = True
        if step >= settings.ramp.end * base and not self.settled:
            self._settle()
            changed = True
        if step >= base and settings.bits and not self._rounds:
            self._rounds = changed = True
            for stack in self.stacks.values():
                stack.rounds = True
            for module in self.network.modules():
                if isinstance(module, ActivationInt8):
                    module.on = True
        return changed

    def penalty(self) -> Tensor | None:
        """Return the weighted expected share of open gates, or None where there is no penalty."""
        if not self.gates or self._step < self.settings.ramp.begin * self.settings.base_steps():
            return None
        opened = torch.stack([gates.expected_open() for gates in self.gates]).sum()
        return self.settings.l0.penalty * opened / sum(gates.log_alpha.numel() for gates in self.gates)

    @torch.no_grad()
    def finished(self) -> tuple[nn.Sequential, nn.Sequential]:
        """Return the network as it is now with whole layers, and with factors as layers of their own."""
        self.train(False)
        whole, factors = copy_of(self.network), {}
        for name, layer in layers_of(whole).items():
            stack = self.stacks[name]
            layer.weight.copy_(stack(self.weights[name]))
            if stack.factors is not None:
                factors[name] = stack.factors.values()
        self.train(True)
        return whole, low_rank.split_low_rank(whole, factors)

    @torch.no_grad()
    def scalars(self) -> dict[str, float]:
        """Return numbers to log: sparsity in all and by layer, the sparsity aimed at, gates, ranks, rounding."""
        values, zeros, count = {}, 0, 0
        for name, stack in self.stacks.items():
            keep = stack.mask.keep if stack.gates is None else stack.mask.keep & stack.gates.open()
            if stack.factors is not None:
                # The product of factors fills the zeros of a mask.
                keep = torch.ones_like(keep)
                values[f"rank/{name}"] = float(stack.factors.left.shape[1])
            values[f"sparsity/{name}"] = 1 - float(keep.float().mean())
            zeros, count = zeros + int((~keep).sum()), count + keep.numel()
        values["sparsity"] = zeros / count
        if self.settings.has("prune"):
            reached = self.settings.ramp.share(self._step, self.settings.base_steps())
            values["sparsity_target"] = self.settings.sparsity * reached
        if self.gates:
            values["expected_open"] = float(sum(gates.expected_open() for gates in self.gates)) / count
        values[f"int{self.settings.bits or 8}"] = float(self._rounds)
        return values

    def state(self) -> dict[str, Any]:
        """Return tensors and plain data for `restore`."""
        return {
            "stacks": {name: stack.state() for name, stack in self.stacks.items()},
            "weights": {name: weight.detach().clone() for name, weight in self.weights.items()},
            "extra": None if self.extra is None else self.extra.state_dict(),
            "generator": self._generator.get_state(),
            "step": self._step,
            "settled": self.settled,
            "gates_closed": self.gates_closed,
        }

    @torch.no_grad()
    def restore(self, state: dict[str, Any]) -> None:
        """Take over the state of a compressor of a network of the same shape."""
        for name, stack in self.stacks.items():
            stack.restore(state["stacks"][name])
            self.weights[name].copy_(state["weights"][name])
        self._step, self.settled, self.gates_closed = state["step"], state["settled"], state["gates_closed"]
        self._rounds = any(stack.rounds for stack in self.stacks.values())
        self._generator.set_state(state["generator"])
        self.extra = None
        if state["extra"] is not None:
            self._make_extra()
            self.extra.load_state_dict(state["extra"])  # type: ignore[attr-defined]

    @property
    def gates(self) -> list[HardConcrete]:
        """The gates that are not final; while there are any, weights in training differ from the finished ones."""
        return [stack.gates for stack in self.stacks.values() if stack.gates is not None]

    def _make_extra(self) -> None:
        parameters = [parameter for stack in self.stacks.values() for parameter in stack.parameters()]
        rate = self.settings.l0.learning_rate if self.gates else self.learning_rate
        self.extra = torch.optim.Adam(parameters, lr=rate) if parameters else None

    @torch.no_grad()
    def _settle(self) -> None:
        """Make gates final, then replace layers by factors where those are smaller."""
        self.settled = True
        if self.settings.has("l0"):
            for name, stack in self.stacks.items():
                self.weights[name].copy_(stack.close_gates(self.weights[name]))
            keeps = [stack.mask.keep for stack in self.stacks.values()]
            self.gates_closed = sum(int((~k).sum()) for k in keeps) / sum(k.numel() for k in keeps)
            self.extra = None
        if self.settings.has("low_rank"):
            bound, wanted = self.settings.low_rank.error, None
            if bound is not None:
                if self.states is None:
                    raise ValueError("a rank by behavior error needs states")
                wanted = outputs(self.finished()[0], self.states())
            for number, (name, stack) in enumerate(self.stacks.items()):
                matrix = stack(self.weights[name]).flatten(1)
                # Layers before this one are truncated already; each may use up its part of the bound.
                part = (bound or 0.0) * (number + 1) / len(self.stacks)
                rank = self._rank(name, matrix, part, wanted)
                if matrix.any() and rank < min(matrix.shape) and _is_smaller(matrix, rank):
                    stack.factorize(self.weights[name], rank)
            self._make_extra()

    def _rank(self, name: str, matrix: Tensor, bound: float, wanted: Tensor | None) -> int:
        rules = self.settings.low_rank
        if rules.rank is not None:
            return rules.rank
        if rules.params is not None:
            return low_rank.rank_by_count(tuple(matrix.shape), rules.params)
        if wanted is None or self.states is None:
            return low_rank.rank_by_energy(matrix, rules.energy)
        trial, states = self.finished()[0], self.states()
        layer = layers_of(trial)[name]

        def error(rank: int) -> float:
            left, right = low_rank.truncate(matrix, rank)
            layer.weight.copy_((left @ right).view_as(layer.weight))
            return output_fvu(outputs(trial, states), wanted)

        return low_rank.rank_by_error(min(matrix.shape), error, bound)


def _is_smaller(matrix: Tensor, rank: int) -> bool:
    """Whether float32 factors of a rank take fewer bytes than the matrix in its best codec."""

    def size(part: Tensor) -> int:
        return min(len(encode(part.cpu().numpy(), codec)) for codec in ("dense", *SPARSE))

    return sum(map(size, low_rank.truncate(matrix, rank))) < size(matrix)
