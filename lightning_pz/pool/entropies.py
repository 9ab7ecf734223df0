"""How random the actions of policies are that have a distribution of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from lightning_pz.policy import act_shared, draw_params, policy_chunk
from lightning_pz.pool.store import Pool

_POLICIES = 1000


@torch.no_grad()
def mean_entropies(pool: Pool) -> dict[str, float]:
    """Return the mean entropy of an action on the probe states, in nats (of a Gaussian's density: per half action box).

    `entropy_pool` of kept policies, `entropy_prior` of fresh draws of the prior, and of choices `entropy_uniform`, the
    largest there is. Empty where policies give one action alone.
    """
    layout, head = pool.layout, pool.layout.head
    if head.kind == "tanh":
        return {}
    kept = torch.from_numpy(np.array(pool.arrays["fingerprints"][:_POLICIES]))
    first = int(pool.meta["candidates"])
    drawn = draw_params(pool.prior, layout, pool.meta["seed"], range(first, first + _POLICIES))
    states = pool.network.standardize(torch.from_numpy(np.array(pool.arrays["states"][: kept.shape[1]])))
    chunks = drawn.split(policy_chunk(layout, len(states)))
    fresh = [float(head.entropy(act_shared(layout, chunk, states)).mean(1).sum()) for chunk in chunks]
    found = {"entropy_pool": float(head.entropy(kept).mean()), "entropy_prior": sum(fresh) / _POLICIES}
    return found | ({"entropy_uniform": sum(map(math.log, head.choices))} if head.choices else {})


def entropy_words(entropies: Mapping[str, Any]) -> dict[str, str]:
    """Return a row of a closing table from what `mean_entropies` returns, or none."""
    if "entropy_pool" not in entropies:
        return {}
    words = [f"{entropies['entropy_pool']:.2f} ({entropies['entropy_prior']:.2f} under the prior"]
    words += [f"{entropies['entropy_uniform']:.2f} if uniform"] if "entropy_uniform" in entropies else []
    return {"mean entropy of an action": ", ".join(words) + ")"}
