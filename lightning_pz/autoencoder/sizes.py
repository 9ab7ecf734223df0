"""Decoders of further policy sizes, all from one latent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_pz.autoencoder.decoders import Decoder
from lightning_pz.common.errors import UserError
from lightning_pz.policy import Layout, PolicyNetwork, Prior, act_each, act_shared, prior_scale

_LAST_WEIGHTS = 1 << 23
"""Weights that the last layer of a further decoder may have, so that one for large policies stays trainable."""


class PolicySize(nn.Module):
    """One size of policy: the network that its policies share, and the decoder that makes their weights.

    `description` is what a checkpoint of this size alone would say of environment, layout, prior, statistics and pool;
    `pool` is None there where no policies of this size were seen.
    """

    def __init__(self, description: Mapping[str, Any], policy: PolicyNetwork, decoder: Decoder) -> None:
        super().__init__()
        self.description, self.policy, self.decoder = dict(description), policy, decoder

    @property
    def name(self) -> str:
        """The name of the size, as of a preset."""
        return str(self.description["policy"])

    @property
    def layout(self) -> Layout:
        """The shape of its policies."""
        return self.policy.layout

    @property
    def has_pool(self) -> bool:
        """Whether it was trained on policies of this size too, not on the behavior of others alone."""
        return self.description.get("pool") is not None

    def act(
        self,
        params: Float[Tensor, "policies params"],
        states: Float[Tensor, "*each states observation"],
        shown_by: PolicyNetwork,
    ) -> Float[Tensor, "policies states feature"]:
        """Return behavior features of these weights, (N, P), on states, (S, O) or (N, S, O), that `shown_by` has standardized.

        Policies of a pool standardize by its statistics, which may differ from those of the first pool's.
        """
        if shown_by is not self.policy:
            states = self.policy.standardize(states * shown_by.observation_std + shown_by.observation_mean)
        return (act_shared if states.ndim == 2 else act_each)(self.layout, params, states)


def make_policy(description: Mapping[str, Any]) -> PolicyNetwork:
    """Return the network that the policies of a description share."""
    box = (description["env"][end] for end in ("action_low", "action_high"))
    statistics = (description["observation_mean"], description["observation_std"], *box)
    return PolicyNetwork(Layout.from_dict(description["layout"]), *map(torch.tensor, statistics))


def further_sizes(
    description: Mapping[str, Any], latent_dim: int, widths: Sequence[int], dropout: float
) -> list[PolicySize]:
    """Return the sizes beside the first one, new decoders with them.

    Their hidden widths are those of the first decoder, but the last is cut so that the last layer has at most 8 million
    weights: 64 for policies of 130,000 weights.
    """
    sizes = []
    for other in description.get("others", []):
        own = {**description, **other}
        policy = make_policy(own)
        scale = prior_scale(Prior(**own["prior"]), policy.layout)
        last = [min(width, max(1, _LAST_WEIGHTS // policy.layout.num_params)) for width in widths[-1:]]
        sizes.append(PolicySize(own, policy, Decoder(latent_dim, scale, [*widths[:-1], *last], dropout)))
    return sizes


def size_of(sizes: Sequence[PolicySize], name: str | None, flag: str = "--policy") -> PolicySize:
    """Return the size of a name, the first if None; `UserError` for an unknown one."""
    known = {size.name: size for size in sizes}
    if name is not None and name not in known:
        raise UserError(f"{flag} expects a size that this checkpoint decodes to ({', '.join(known)}), but got {name!r}")
    return sizes[0] if name is None else known[name]
