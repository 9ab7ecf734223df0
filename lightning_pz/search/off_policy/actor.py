"""An actor whose weights are decoded from a latent, decoded and offset, or free."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_pz.policy import PolicyNetwork
from lightning_pz.policy.network import outputs_each


class ActorStart(NamedTuple):
    """Where an actor begins."""

    base: Float[Tensor, " params"]  # Added to decoded weights; the weights themselves where nothing is decoded
    point: Float[Tensor, " size"] | None = None  # In standard deviations of the latents; None where nothing is decoded


class DecodedActor(nn.Module):
    """A policy with the weights `decode(point) + base + offset`, each part only where it is given.

    The latents' `point`, (k,), and the `offset`, (P,), are what learns; the decoder is no part of the module. The weights are
    decoded once between two changes. States are standardized; actions are in units of the action box, -1 to 1.

    Args:
        decode: From points, (n, k), to weights, (n, P), differentiable; None for free weights.
        with_offset: Whether an offset of all weights is learned; else a latent must be.
        log_std: First logarithm of the standard deviation of each action before the tanh, one for all states; none if None.
    """

    base: Tensor

    def __init__(
        self,
        network: PolicyNetwork,
        start: ActorStart,
        decode: Callable[[Tensor], Tensor] | None,
        *,
        with_offset: bool,
        log_std: float | None = None,
    ) -> None:
        super().__init__()
        self.layout, self._decode = network.layout, decode
        self.register_buffer("base", start.base.clone())
        self.point = nn.Parameter(start.point.float().clone()) if start.point is not None else None
        self.offset = nn.Parameter(torch.zeros_like(self.base)) if with_offset else None
        spread = None if log_std is None else torch.full((self.layout.action_size,), log_std)
        self.log_std = None if spread is None else nn.Parameter(spread)
        self._params: Tensor | None = None
        self.register_load_state_dict_post_hook(lambda actor, _: actor.changed())

    def groups(self, latent_rate: float, rate: float) -> list[dict]:
        """Return what learns, with its learning rate, for an optimizer."""
        rates = [(self.point, latent_rate), (self.offset, rate), (self.log_std, rate)]
        return [{"params": [part], "lr": own} for part, own in rates if part is not None]

    @torch.no_grad()
    def begin_at(self, start: ActorStart) -> None:
        """Take another start's place, with no offset."""
        self.base.copy_(start.base)
        if self.point is not None and start.point is not None:
            self.point.copy_(start.point)
        if self.offset is not None:
            self.offset.zero_()
        self.changed()

    def changed(self) -> None:
        """Forget the decoded weights, after a step of the optimizer or other numbers."""
        self._params = None

    def params(self) -> Float[Tensor, " params"]:
        """Return the weights, with the graph behind them, which one backward pass uses up."""
        if self._params is None:
            with torch.enable_grad():
                params = self.base
                if self.point is not None and self._decode is not None:
                    params = params + self._decode(self.point[None])[0]
                self._params = params if self.offset is None else params + self.offset
        return self._params

    def outputs(
        self, params: Float[Tensor, " params"], states: Float[Tensor, "states observation"]
    ) -> Float[Tensor, "states action"]:
        """Return the last layer of a policy with the given weights, before the tanh."""
        return outputs_each(self.layout, params[None], states[None])[0]

    def draw(
        self, params: Float[Tensor, " params"], states: Float[Tensor, "states observation"]
    ) -> tuple[Float[Tensor, "states action"], Float[Tensor, " states"]]:
        """Return random actions and the logarithms of their densities, by the reparametrization of SAC.

        `a = tanh(mean + std e)` with `log p(a) = log N(e) - log std - log(1 - a^2 + 1e-6)`, summed over actions, as in
        Stable-Baselines3.
        """
        assert self.log_std is not None
        mean = self.outputs(params, states)
        noise = torch.randn_like(mean)
        actions = torch.tanh(mean + self.log_std.exp() * noise)
        # log N(e) without what does not depend on the action
        normal = -0.5 * noise.square() - self.log_std - 0.9189385332046727
        return actions, (normal - torch.log(1 - actions.square() + 1e-6)).sum(1)
