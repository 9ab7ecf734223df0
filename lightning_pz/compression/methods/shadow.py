"""Training of a compressed network whose stored weights live beside it.

The module always holds the weights that it works with: masked, gated, rounded. The stored weights, which are trained,
replace them only during the optimizer's step. `torch.nn.utils.parametrize` would do the same (a test compares the two), but
it moves a weight behind the bias in the order of parameters: Stable-Baselines3 updates target networks by position, and
would overwrite its target's biases with weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lightning_pz.compression.compressor import Compressor


class Shadow:
    """Trains a compressor's weights through the optimizer that its network, of plain layers, already has."""

    def __init__(self, compressor: Compressor, optimizer: torch.optim.Optimizer) -> None:
        self.compressor, self.layers = compressor, compressor.layers
        compressor.weights = {name: nn.Parameter(m.weight.detach().clone()) for name, m in self.layers.items()}
        before, after = optimizer.register_step_pre_hook, optimizer.register_step_post_hook
        self._hooks = [before(self._before_step), after(self._after_step)]
        self.write()

    def remove(self) -> None:
        """Detach from the optimizer; the network keeps the weights of the finished network."""
        for hook in self._hooks:
            hook.remove()
        self.settle()

    @torch.no_grad()
    def write(self) -> None:
        """Give the network the weights that it works with now."""
        for name, module in self.layers.items():
            module.weight.copy_(self.compressor.stacks[name](self.compressor.weights[name]))

    def settle(self) -> None:
        """Give the network the weights of the finished network, without noise."""
        self.compressor.train(False)
        self.write()
        self.compressor.train(True)

    def _moving(self) -> list[tuple[str, nn.Linear | nn.Conv2d, Tensor]]:
        """Return name, layer and stored weight of the layers that this step of the optimizer moves."""
        return [(n, m, self.compressor.weights[n]) for n, m in self.layers.items() if m.weight.grad is not None]

    def _before_step(self, *_: Any) -> None:
        """Turn gradients of working weights into gradients of stored ones, and put those in place."""
        extra = self.compressor.extra
        if extra is not None:
            extra.zero_grad()
        for name, module, stored in self._moving():
            stored.grad = None
            # Adding nothing gives a factorized layer's weight, which is not used, a gradient of zero.
            torch.autograd.backward(self.compressor.stacks[name](stored) + 0 * stored, module.weight.grad)
        if (penalty := self.compressor.penalty()) is not None:
            penalty.backward()
        if extra is not None:
            extra.step()
        with torch.no_grad():
            for _name, module, stored in self._moving():
                module.weight.copy_(stored)
                module.weight.grad = stored.grad

    def _after_step(self, *_: Any) -> None:
        """Store the changed weights and put working ones in place."""
        with torch.no_grad():
            for _name, module, stored in self._moving():
                stored.copy_(module.weight)
        self.compressor.draw()
        self.write()
