"""Trains a quick autoencoder of the pool so far, for a round that begins in its latent space.

Networks and loss are those of `lightning_pz.autoencoder`; the loop is a plain one, since a decoder that serves one round
needs neither checkpoints nor logs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_pz.autoencoder import losses
from lightning_pz.autoencoder.decoders import Decoder
from lightning_pz.autoencoder.encoders import BehaviorEncoder
from lightning_pz.common.latent_distribution import LatentDistribution
from lightning_pz.policy import Layout, Prior, act_shared, prior_scale
from lightning_pz.pool.sampling import act_on
from lightning_pz.search.spaces import SearchSpace, latent_space

_WIDTHS = (256, 256)
_BATCH, _STATES_PER_STEP, _WARMUP = 128, 32, 20


@dataclass(frozen=True)
class TrainedLatents:
    """A trained decoder with the distribution of its latents; plain data but for the way back, which may be left out."""

    decoder: Decoder
    distribution: LatentDistribution
    encode: Callable[[Tensor], Tensor] | None = None  # from weights, (n, P), to latents, (n, k)

    def space(self) -> SearchSpace:
        """Return the whitened latent space."""
        return latent_space(self.decoder, self.distribution, self.encode)


def train_latents(
    layout: Layout, prior: Prior, params: Tensor, probe: Tensor, states: Tensor, latent_dim: int, steps: int, seed: int
) -> TrainedLatents:
    """Train encoder and decoder on policies, (N, P), and return them with the distribution of these policies' latents.

    Probe states, (M, O), and the states on which behavior is compared, (S, O), are standardized; the prior is the unit of
    weights; the seed is that of first weights and batches.
    """
    fingerprints = torch.empty(len(params), len(probe), layout.feature_size)
    actions = torch.empty(len(params), len(states), layout.feature_size)
    act_on(layout, params, probe, fingerprints)
    act_on(layout, params, states, actions)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = BehaviorEncoder(fingerprints[0].numel(), latent_dim, _WIDTHS)
        decoder = Decoder(latent_dim, prior_scale(prior, layout), _WIDTHS)
    variance = float(actions.var(0).mean()) or 1.0
    weights = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=1e-3, weight_decay=1e-2, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / _WARMUP) * 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    for _ in range(steps):
        rows = torch.randint(len(params), (min(_BATCH, len(params)),), generator=generator)
        columns = torch.randperm(len(states), generator=generator)[:_STATES_PER_STEP]
        rebuilt = act_shared(layout, decoder(encoder(fingerprints[rows])), states[columns])
        loss = losses.behavior(losses.Reconstruction(rebuilt, actions[rows[:, None], columns], variance))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
    encoder.eval()
    with torch.no_grad():
        latents = torch.cat([encoder(part) for part in fingerprints.split(4096)]).double()
        centered = latents - latents.mean(0)
        distribution = LatentDistribution(latents.mean(0), centered.T @ centered / max(1, len(latents) - 1))
        decoder.eval().requires_grad_(False)
        return TrainedLatents(decoder, distribution, lambda own: encoder(act_shared(layout, own, probe)))
