"""Measures how well a decoder gives policies of pools that it was not trained on.

Held-out policies of a random pool are fresh draws. Those of a grown pool descend from the same searches as the training
policies; only a pool grown anew shows what unrelated policies lose.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from lightning_pz.autoencoder.error_sums import ErrorSums, prefix_errors
from lightning_pz.autoencoder.module import BehaviorAutoencoder
from lightning_pz.common.errors import UserError
from lightning_pz.evaluation.groups import held_out_rows
from lightning_pz.policy import act_shared, policy_chunk, restandardize
from lightning_pz.pool.of_checkpoint import is_pool_of
from lightning_pz.pool.states import StateCounts
from lightning_pz.pool.store import Pool

POLICIES = 2000  # of a pool that are encoded and decoded, at most
SAMPLE_SEED = 0  # of those of another pool that holds more


@torch.no_grad()
def transfer_fvu(model: BehaviorAutoencoder, pool: Pool, policies: int = POLICIES) -> dict[int, float]:
    """Return the FVU of at most so many policies of a pool, by the number of leading latents kept, on its test states.

    The decoder gets the policies as they act, whatever statistics their pool standardizes observations by. On the
    decoder's own pool only held-out policies are taken: first those of its test FVU, then those that chose the checkpoint.
    Of another pool, where none was trained on, they are all of its policies or a random sample.
    Sizes are all of a nested bottleneck, else k alone. 0 is perfect, 1 no better than the mean of these policies. A pool
    of another environment or layout raises `UserError`.
    """
    kinds = (pool.meta["env"]["id"], pool.layout), (model.env["id"], model.layout)
    found, wanted = (f"{env} and widths {layout.sizes} ({layout.activation})" for env, layout in kinds)
    if found != wanted:
        raise UserError(f"--elsewhere expects pools of policies for {wanted}, but {pool.folder} is for {found}")
    span = StateCounts(**pool.meta["states"]).slices()["test"]
    states = model.policy.standardize(torch.from_numpy(pool.arrays["states"][span].copy()))
    params = restandardize(pool.params(measured_rows(model, pool, policies)), pool.network, model.policy)
    chunks = params.split(policy_chunk(model.layout, len(states)))
    actions = [act_shared(model.layout, chunk, states) for chunk in chunks]
    mean = torch.cat(actions).mean(0)
    sums = ErrorSums(model.bottleneck.prefixes(dense=True))
    for chunk, own in zip(chunks, actions, strict=True):
        spread = (own - mean).double().square().flatten(1).sum(1)
        errors = prefix_errors(
            model.encode(chunk), lambda z: act_shared(model.layout, model.decoder(z), states), own, sums.sizes
        )
        sums.add_policies(errors, spread)
    return sums.curve()


def measured_rows(model: BehaviorAutoencoder, pool: Pool, policies: int = POLICIES) -> np.ndarray:
    """Return the rows of the policies of a pool that `transfer_fvu` takes: the split of a checkpoint is of its own pool alone."""
    if is_pool_of(pool, model.hparams["description"]):
        return held_out_rows(model, pool, policies)
    return np.random.default_rng(SAMPLE_SEED).permutation(len(pool))[:policies]


def to_others(models: Sequence[BehaviorAutoencoder], pools: Sequence[Pool]) -> np.ndarray:
    """Return each model's mean FVU over the pools of the others, (models,), given the pool of each; NaN without others."""
    found = []
    for model, own in zip(models, pools, strict=True):
        others = {pool.digest: pool for pool in pools if pool.digest != own.digest}.values()
        values = [transfer_fvu(model, pool)[model.hparams["latent_dim"]] for pool in others]
        found.append(np.mean(values) if values else np.nan)
    return np.array(found)
