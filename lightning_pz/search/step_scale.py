"""A first step of the search that is told in what policies do, not in latent units."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from lightning_pz.policy import Layout, act_shared
from lightning_pz.probes.jacobian import jacobian_grams, lipschitz, step_scale
from lightning_pz.search.settings import SearchSettings
from lightning_pz.search.spaces import SearchSpace

_POINTS = 32


def behavior_sigma(
    settings: SearchSettings, layout: Layout, states: Float[Tensor, "states observation"], latents: SearchSpace
) -> float | None:
    """Return `behavior_step` over the decoder's Lipschitz constant, in standard deviations of the latents; None without it.

    The constant is the mean over 32 latents of the population, always the same ones. It is a length of the latent space
    alone: weights have the settings' own `sigma`.

    Args:
        settings: Of the search.
        layout: Shape of the policies.
        states: Standardized states on which behavior is compared, (S, O).
        latents: The decoder's whitened latents.

    Raises:
        UserError: A decoder that ignores its latent.
    """
    if settings.behavior_step is None:
        return None

    def act(point: Tensor) -> tuple[Tensor]:
        return (act_shared(layout, latents.decode(point[None]), states),)

    (grams,) = jacobian_grams(act, latents.draw(_POINTS, 0))
    return step_scale(lipschitz(grams), settings.behavior_step)
