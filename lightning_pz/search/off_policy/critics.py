"""Several critics as one batched network over one flat vector, so that an update takes few calls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

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
        """Return what critics with the given weights say of states and actions, joined to one input."""
        parts = flat.split(self.splits, dim=1)
        x = inputs.expand(len(flat), -1, -1)
        for number, shape in enumerate(self.shapes):
            if number:
                if self.normalize:
                    x = nn.functional.layer_norm(x, x.shape[-1:])
                x = torch.relu(x)
            x = torch.baddbmm(parts[2 * number + 1][:, None], x, parts[2 * number].unflatten(1, shape))
        return x
