"""Several critics as one batched network over one flat vector, so that an update takes few calls."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Critics(nn.Module):
    """MLPs from (state, action) to values, side by side: hidden layers linear, normalized and ReLU, the last linear.

    All weights are one parameter, (C, W), so that an optimizer has one tensor to step and a target network is one `lerp`;
    each critic's are layer after layer the weight (in, out) and the bias (out). With `normalize` each hidden layer is
    normalized to mean 0 and variance 1 over its units before the ReLU (without learned scale or shift, which the next layer
    can do), which keeps values of actions that no data shows from running away.

    References:
        Ba et al., "Layer normalization", 2016; Ball et al., "Efficient online reinforcement learning with offline data", 2023.
    """

    def __init__(self, count: int, inputs: int, hidden: Sequence[int], outputs: int, *, normalize: bool) -> None:
        super().__init__()
        sizes = (inputs, *hidden, outputs)
        self.normalize = normalize
        self.shapes = tuple(pairwise(sizes))
        self.splits = [length for size, out in self.shapes for length in (size * out, out)]
        flat = torch.empty(count, sum(self.splits))
        for number, part in enumerate(flat.split(self.splits, dim=1)):
            # Of nn.Linear, whose bias has the weight's bound.
            bound = 1 / math.sqrt(self.shapes[number // 2][0])
            part.uniform_(-bound, bound)
        self.flat = nn.Parameter(flat)

    def values(
        self, flat: Float[Tensor, "critics weights"], inputs: Float[Tensor, "states inputs"]
    ) -> Float[Tensor, "critics states outputs"]:
        """Return what critics with the given weights, (C, W), say of states and actions, (C, B, outputs); no gradients.

        Inputs are states and actions, joined, (B, O + A).
        """
        with torch.no_grad():
            return self._forward(flat, inputs)[0]

    def gradients(
        self,
        inputs: Float[Tensor, "states inputs"],
        of_values: Callable[[Float[Tensor, "critics states outputs"]], Float[Tensor, "critics states outputs"]],
    ) -> Float[Tensor, "critics weights"]:
        """Return the gradient of a loss by the weights, (C, W); `of_values` gives that by the values, (C, B, outputs).

        Inputs are those of `values`, (B, O + A). By hand, as is the gradient by the actions: a third of an update would
        go into the bookkeeping of automatic differentiation.
        """
        with torch.no_grad():
            flat = self.flat
            values, kept = self._forward(flat, inputs)
            gradient = torch.empty_like(flat)
            self._backward(flat, kept, of_values(values), gradient)
        return gradient

    def values_of(
        self, states: Float[Tensor, "states observation"], actions: Float[Tensor, "states action"], count: int | None
    ) -> Float[Tensor, "critics states outputs"]:
        """Return what the first `count` critics, or all, say, (count, B, outputs), differentiable by the actions alone.

        States are (B, O), actions (B, A).
        """
        return _ByActions.apply(actions, states, self, self.flat.detach()[:count])

    def _forward(self, flat: Tensor, inputs: Tensor) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
        """Return the values, and for each layer its input with what the normalization in front of it needs to go back."""
        parts = flat.split(self.splits, dim=1)
        x, kept = inputs.expand(len(flat), -1, -1), []
        back: tuple[Tensor, ...] = ()
        for number, shape in enumerate(self.shapes):
            if number:
                if self.normalize:
                    raw = x
                    x, mean, deviation = torch.native_layer_norm(raw, raw.shape[-1:], None, None, 1e-5)
                    back = (raw, mean, deviation)
                x = x.relu_()
            kept.append((x, *back))
            weight, bias = parts[2 * number], parts[2 * number + 1]
            if shape[1] == 1:  # a product with one column is slow
                x = (x * weight[:, None]).sum(2, keepdim=True) + bias[:, None]
            else:
                x = torch.baddbmm(bias[:, None], x, weight.unflatten(1, shape))
        return x, kept

    def _backward(
        self, flat: Tensor, kept: list[tuple[Tensor, ...]], gradient: Tensor, by_weights: Tensor | None
    ) -> Tensor | None:
        """Write the gradient by the weights into a tensor, or return that by the inputs, (C, B, inputs)."""
        parts = flat.split(self.splits, dim=1)
        ones = gradient.new_ones(len(flat), 1, gradient.shape[1])
        into = None if by_weights is None else by_weights.split(self.splits, dim=1)
        for number in reversed(range(len(self.shapes))):
            x, *back = kept[number]
            shape = self.shapes[number]
            if into is not None:
                into[2 * number].unflatten(1, shape).copy_(torch.bmm(x.mT, gradient))
                # As a product, which is faster than a sum over rows.
                into[2 * number + 1].copy_(torch.bmm(ones, gradient)[:, 0])
                if not number:
                    return None
            weight = parts[2 * number].unflatten(1, shape).mT
            gradient = gradient * weight if shape[1] == 1 else torch.bmm(gradient, weight)
            if number:
                gradient = torch.ops.aten.threshold_backward(gradient, x, 0)
                if back:
                    raw, mean, deviation = back
                    gradient = torch.ops.aten.native_layer_norm_backward(
                        gradient, raw, raw.shape[-1:], mean, deviation, None, None, [True, False, False]
                    )[0]
        return gradient


class _ByActions(torch.autograd.Function):
    """Values of states and actions, whose gradient by the actions is taken by hand."""

    @staticmethod
    def forward(ctx: Any, actions: Tensor, states: Tensor, critics: Critics, flat: Tensor) -> Tensor:
        values, kept = critics._forward(flat, torch.cat([states, actions], 1))
        ctx.critics, ctx.flat, ctx.kept, ctx.size = critics, flat, kept, actions.shape[1]
        return values

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        by_inputs = ctx.critics._backward(ctx.flat, ctx.kept, gradients[0], None)
        return by_inputs[..., -ctx.size :].sum(0), None, None, None
