"""Sums over one validation or test: errors in all and policy by policy, and KL divergences."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_pz.autoencoder import losses
from lightning_pz.autoencoder.bottlenecks import prefix_mask


class ErrorSums:
    """Sums of one pass over held-out policies, policy by policy with `sizes` leading latents kept, (K,)."""

    def __init__(self, sizes: Sequence[int] = ()) -> None:
        self.sizes = list(sizes)
        self.totals: dict[str, dict[tuple[str, str], Tensor]] = {}
        self.kl: list[Tensor] = []
        self._errors: list[Tensor] = []
        self._spreads: list[Tensor] = []

    @property
    def policies(self) -> int:
        """Policies whose own errors are kept so far."""
        return sum(len(spread) for spread in self._spreads)

    def add(
        self, stage: str, error: Float[Tensor, ""], spread: Float[Tensor, ""], sizes: tuple[str, str] = ("", "")
    ) -> None:
        """Add numerator and denominator of a stage's FVU, of policies of one size decoded to another."""
        pairs = self.totals.setdefault(stage, {})
        pairs[sizes] = pairs.get(sizes, 0) + torch.stack([error, spread]).cpu()

    def fvu(self) -> dict[str, float]:
        """Return `<stage>_fvu`, its mean over pairs of sizes, and with several pairs `<stage>_fvu/<from>_to_<to>`."""
        found: dict[str, float] = {}
        for stage, pairs in self.totals.items():
            each = {f"{stage}_fvu/{a}_to_{b}": float((sums[0] / sums[1]).float()) for (a, b), sums in pairs.items()}
            found |= {f"{stage}_fvu": sum(each.values()) / len(each)} | (each if len(each) > 1 else {})
        return found

    def add_policies(self, errors: Float[Tensor, "sizes policies"], spread: Float[Tensor, " policies"]) -> None:
        """Keep the errors of some policies at every size, and their spread."""
        self._errors.append(errors.cpu())
        self._spreads.append(spread.cpu())

    def policy_errors(self) -> dict[str, np.ndarray]:
        """Return the errors policy by policy.

        `latent_dims`, (K,): how many leading latents were kept; `error`, (K, N): each policy's squared action error
        then, summed over states and actions, in action boxes (-1 to 1) squared; `spread`, (N,): its squared deviation
        from the mean policy. `sum(error[i]) / sum(spread)` is FVU. Of a variational bottleneck also `kl`, (k,): mean KL
        divergence of each latent, in nats.
        """
        found = {
            "latent_dims": np.array(self.sizes),
            "error": torch.cat(self._errors, 1).numpy(),
            "spread": torch.cat(self._spreads).numpy(),
        }
        return found | ({"kl": torch.cat(self.kl).mean(0).numpy()} if self.kl else {})

    def curve(self) -> dict[int, float]:
        """Return FVU by the number of latents kept; empty where no policy's own errors are kept."""
        if not self._errors:
            return {}
        found = self.policy_errors()
        return dict(zip(self.sizes, (found["error"].sum(1) / found["spread"].sum()).tolist(), strict=True))


def prefix_errors(
    latents: Float[Tensor, "policies latent"],
    act: Callable[[Tensor], Tensor],
    target: Float[Tensor, "policies states action"],
    sizes: Sequence[int],
) -> Float[Tensor, "sizes policies"]:
    """Return each policy's squared action error when only its first latents are kept and the rest are zero, (K, N).

    `act` maps latents, (N, k), to actions, (N, S, A); `sizes` holds K numbers.
    """
    k = latents.shape[1]
    masks = [prefix_mask(torch.tensor([size]), k).to(latents) for size in sizes]
    return torch.stack([losses.squared_errors(act(latents * mask), target) for mask in masks])
