"""The behavior autoencoder as a LightningModule: wires networks, loss, logging and optimizer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, cast, get_args

import lightning as L
import numpy as np
import torch
from jaxtyping import Float
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from lightning_pz.autoencoder import losses
from lightning_pz.autoencoder.adamw import make_optimizer
from lightning_pz.autoencoder.bottlenecks import Bottleneck, Variational, check_latent_dim, make_bottleneck
from lightning_pz.autoencoder.check_training import check_training
from lightning_pz.autoencoder.decoders import Decoder
from lightning_pz.autoencoder.encoders import BehaviorEncoder, ParametersEncoder
from lightning_pz.autoencoder.error_sums import ErrorSums, prefix_errors
from lightning_pz.autoencoder.sizes import PolicySize, further_sizes, make_policy, size_of
from lightning_pz.common.checks import at_least, one_of
from lightning_pz.common.errors import UserError
from lightning_pz.common.latent_distribution import ENCODINGS, LatentDistribution
from lightning_pz.policy import PolicyNetwork, Prior, act_shared, prior_scale

Encoder = Literal["behavior", "parameters"]
_PREFIX_POLICIES = 1024
"""Held-out policies on which validation measures every prefix of a nested latent; the test takes all."""


class BehaviorAutoencoder(L.LightningModule):
    """Compresses policies to latents by what they do, and decodes latents to whole policies.

    Args:
        latent_dim: k, numbers in a latent.
        encoder: `behavior` reads fingerprints and generalizes; `parameters` reads weights, as the paper does.
        loss: `behavior` is the mean squared action difference over the action variance (FVU); `behavior_rms` its root
            per policy, as in the distance by which novelty is measured; `behavior_visited` takes half of it on states that each policy visited
            itself, which a grown pool knows; `parameters` is the weight difference, the ablation.
        bottleneck: `plain`; `nested` (nested dropout: latents in order of use, one run gives the FVU of every k);
            `variational` (a Gaussian posterior; unused latents fall to a KL divergence of 0).
        kl_weight: `variational` only: weight of the KL divergence, in FVU per nat.
        encoder_widths: Hidden widths of the encoder.
        decoder_widths: Hidden widths of the decoder.
        dropout: Share of hidden units dropped in training.
        learning_rate: Peak learning rate of AdamW.
        weight_decay: AdamW's decoupled weight decay.
        warmup_steps: Steps of linear warm-up before the cosine decay to 0.
        description: Environment, layout, prior, statistics and probe states of the pool; plain data, filled in from the
            DataModule when training starts and kept in the checkpoint.
    """

    latent_mean: Tensor
    latent_covariance: Tensor
    latent_encodings: Tensor
    probe_states: Tensor

    def __init__(
        self,
        latent_dim: int = 16,
        encoder: Encoder = "behavior",
        loss: losses.Loss = "behavior",
        bottleneck: Bottleneck = "plain",
        kl_weight: float = 1e-3,
        encoder_widths: Sequence[int] = (256, 256),
        decoder_widths: Sequence[int] = (256, 256),
        dropout: float = 0.0,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-2,
        warmup_steps: int = 50,
        description: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        at_least(1, {"model.latent_dim": latent_dim})
        one_of("model.encoder", encoder, get_args(Encoder))
        one_of("model.loss", loss, get_args(losses.Loss))
        one_of("model.bottleneck", bottleneck, get_args(Bottleneck))
        # Plain types only, so that a checkpoint loads with weights_only=True. Logged by a callback, with the metric.
        encoder_widths, decoder_widths = list(encoder_widths), list(decoder_widths)
        self.save_hyperparameters(logger=False)
        check_training(self.hparams)
        self.decoder: Decoder
        if description is not None:
            self._build(description)

    def _build(self, description: dict[str, Any]) -> None:
        """Make the networks for the pool that is described."""
        h = self.hparams
        self.policy = make_policy(description)
        self.layout = self.policy.layout
        prior_std = prior_scale(Prior(**description["prior"]), self.layout)
        probe_states = torch.tensor(description["probe_states"])
        fingerprint_size = len(probe_states) * self.layout.feature_size
        check_latent_dim(h["latent_dim"], fingerprint_size)
        self.action_variance = float(description["action_variance"])
        k, dropout = h["latent_dim"], h["dropout"]
        self.bottleneck = make_bottleneck(h["bottleneck"], k, h["kl_weight"])
        size, widths = self.bottleneck.code_size, h["encoder_widths"]
        self.encoder = (
            BehaviorEncoder(fingerprint_size, size, widths, dropout)
            if h["encoder"] == "behavior"
            else ParametersEncoder(prior_std, size, widths, dropout)
        )
        self.decoder = Decoder(k, prior_std, h["decoder_widths"], dropout)
        self.register_buffer("probe_states", probe_states)
        self.register_buffer("latent_mean", torch.zeros(k))
        self.register_buffer("latent_covariance", torch.eye(k))
        self.register_buffer("latent_encodings", torch.empty(0, k))
        self.further = nn.ModuleList(further_sizes(description, k, h["decoder_widths"], dropout))
        # The first one's networks are registered above, under the names that a checkpoint of one size has.
        first = PolicySize(description, self.policy, self.decoder)
        self._sizes = (first, *cast(list[PolicySize], list(self.further)))
        self._pools = [size.name for size in self._sizes if size is first or size.has_pool]

    @property
    def sizes(self) -> tuple[PolicySize, ...]:
        """The sizes of policy that the latent decodes to, the first pool's before all others."""
        return self._sizes

    def use(self, name: str | None) -> None:
        """Make the size of that name the one that decoder, layout, policy and description stand for; the first if None."""
        size = size_of(self.sizes, name)
        self.policy, self.layout, self.decoder = size.policy, size.layout, size.decoder
        self.hparams["description"] = size.description

    @property
    def env(self) -> dict[str, Any]:
        """The environment's specification, as plain data."""
        return self.hparams["description"]["env"]

    def setup(self, stage: str) -> None:
        """Make the networks from the DataModule's description of the pool, unless they are there."""
        if self.hparams["description"] is None:
            data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
            self.hparams["description"] = description = data.description()
            self._build(description)
            self.latent_encodings = torch.zeros(data.latent_policies(ENCODINGS), self.hparams["latent_dim"])

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Resize the buffer to the encodings that a checkpoint holds; one of an earlier version has none."""
        if self.hparams["description"] is not None:
            kept = checkpoint["state_dict"].setdefault("latent_encodings", self.latent_encodings)
            self.latent_encodings = torch.empty_like(kept, device=self.latent_mean.device)

    def latents(self, kind: str) -> LatentDistribution:
        """Return the distribution of latents over training policies, to draw from; `kind` is one of `LATENTS`."""
        return LatentDistribution(self.latent_mean, self.latent_covariance, self.latent_encodings, kind)

    def latent_spread(self) -> tuple[Tensor, Tensor]:
        """Return the root of the latents' summed variance over the pool, and their effective number of directions."""
        eigenvalues = torch.linalg.eigvalsh(losses.in_double(self.latent_covariance)).clamp_min(0)
        return eigenvalues.sum().sqrt(), eigenvalues.sum() ** 2 / eigenvalues.square().sum()

    def forward(self, params: Float[Tensor, "policies params"]) -> Float[Tensor, "policies params"]:
        """Encode policies given by their weights, (N, P), and decode them again, (N, P)."""
        return self.decoder(self.encode(params))

    def encode(
        self, params: Float[Tensor, "policies params"], policy: PolicyNetwork | None = None
    ) -> Float[Tensor, "policies latent"]:
        """Encode policies given by their weights, (N, P), to latents, (N, k), a posterior's mean; no pool needed.

        `policy` is what they share, where that is not the network of the size in use.
        """
        policy = policy or self.policy
        reads_weights = isinstance(self.encoder, ParametersEncoder)
        states = policy.standardize(self.probe_states)
        return self.bottleneck.center(
            self.encoder(params if reads_weights else act_shared(policy.layout, params, states))
        )

    def _code(self, batch: Any) -> Float[Tensor, "policies code"]:
        return self.encoder(getattr(batch, self.encoder.reads))

    def _encode_batch(self, batch: Any) -> Float[Tensor, "policies latent"]:
        return self.bottleneck.center(self._code(batch))

    def _rebuild(self, size: PolicySize, latents: Tensor, batch: Any) -> tuple[Tensor, Tensor]:
        """Return the weights, (N, P), and the actions on a batch's states, (N, S, A), of latents decoded to a size."""
        params = size.decoder(latents)
        return params, size.act(params, batch.states, self.policy)

    def _generator(self, batch_idx: int) -> torch.Generator | None:
        """Return what a training step draws from, a function of (seed, step), so that resume equals straight."""
        if not self.bottleneck.draws:
            return None
        step = self.current_epoch * int(self.trainer.num_training_batches) + batch_idx
        seed = self.trainer.datamodule.seed  # type: ignore[attr-defined]
        sequence = np.random.SeedSequence(seed, spawn_key=(2, step, self.global_rank))
        return torch.Generator().manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> 1))

    def _loss(self, size: PolicySize, latents: Tensor, batch: Any) -> Tensor:
        params, actions = self._rebuild(size, latents, batch)
        own = size.act(params, batch.visited, self.policy) if batch.visited.shape[1] else batch.visited_actions
        given = losses.Reconstruction(
            actions, batch.actions, self.action_variance, params, batch.params, size.decoder.prior_std, own,
            batch.visited_actions,
        )  # fmt: skip
        return losses.LOSSES[self.hparams["loss"]](given)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the loss of one batch of policies on one batch of states, a scalar: the mean over sizes of policy.

        A bottleneck with a penalty adds it.

        Raises:
            UserError: The loss is not finite, as with a learning rate that is too high.
        """
        code = self._code(batch)
        latents = self.bottleneck.sample(code, self._generator(batch_idx))
        # Every size rebuilds the behavior of policies of all sizes.
        loss = torch.stack([self._loss(size, latents, batch) for size in self.sizes]).mean()
        if (penalty := self.bottleneck.penalty(code)) is not None:
            loss = loss + penalty
        if not torch.isfinite(loss):
            raise UserError(
                f"the training loss became {float(loss.detach())} at step {self.global_step}: the last good checkpoint is kept. "
                f"Lower --model.learning_rate (now {self.hparams['learning_rate']}) or --trainer.gradient_clip_val"
            )
        # Only where the logger writes: of what Lightning adds to a step, a call of log is the largest part.
        if (self.global_step + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self.log("train_loss", loss.detach(), prog_bar=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Refresh the latent statistics, so that every checkpoint holds its own, and begin new sums."""
        self.sums = ErrorSums(self.bottleneck.prefixes())
        loader = self.trainer.datamodule.latent_dataloader(8192)  # type: ignore[attr-defined]
        batches = (self.trainer.strategy.batch_to_device(batch, self.device) for batch in loader)
        latents = losses.in_double(torch.cat([self._encode_batch(batch) for batch in batches]))
        centered = latents - latents.mean(0)
        self.latent_mean.copy_(latents.mean(0))
        self.latent_covariance.copy_(centered.T @ centered / max(1, len(latents) - 1))
        # The loader serves training policies in the random order of the split, so the first ones are a fair sample.
        self.latent_encodings.copy_(latents[: len(self.latent_encodings)])

    def on_test_epoch_start(self) -> None:
        """Begin new sums."""
        self.sums = ErrorSums(self.bottleneck.prefixes(dense=True))

    def _measure(self, stage: str, batch: Any, pool: int, *, by_policy: bool) -> None:
        """Add up the errors of a batch of a pool; `by_policy` also each policy's own, of the first pool in its own size."""
        # In full precision, as everything that loads the checkpoint computes.
        with torch.autocast(self.device.type, enabled=False):
            code = self._code(batch)
            latents = self.bottleneck.center(code)
            spread = losses.in_double(batch.actions - batch.mean_actions).square()
            for size in self.sizes:
                errors = losses.in_double(self._rebuild(size, latents, batch)[1] - batch.actions).square()
                self.sums.add(stage, errors.sum(), spread.sum(), (self._pools[pool], size.name))
                if by_policy and pool == 0 and size is self.sizes[0]:
                    parts = [errors.flatten(1).sum(1)[None]]
                    if smaller := self.sums.sizes[:-1]:
                        rebuild = lambda z: self._rebuild(self.sizes[0], z, batch)[1]  # noqa: E731
                        parts.insert(0, prefix_errors(latents, rebuild, batch.actions, smaller))
                    self.sums.add_policies(torch.cat(parts), spread.flatten(1).sum(1))
            if stage != "train" and isinstance(self.bottleneck, Variational):
                self.sums.kl.append(self.bottleneck.kl(code).cpu().double())

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Add up held-out errors (of one loader for each pool) and training errors (of as many after them)."""
        few = self.sums.policies < _PREFIX_POLICIES and len(self.sums.sizes) > 1
        stage, pool = divmod(dataloader_idx, len(self._pools))
        self._measure(("val", "train")[stage], batch, pool, by_policy=few and stage == 0)

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Add up errors on policies and states that decided nothing, each policy's own too."""
        self._measure("test", batch, dataloader_idx, by_policy=True)

    def _log_fvu(self) -> None:
        for name, value in self.sums.fvu().items():
            if not math.isfinite(value):
                raise UserError(
                    f"{name} became {value} after step {self.global_step}: the reconstructed actions are "
                    f"not finite, or all policies act alike. The last good checkpoint is kept; lower "
                    f"--model.learning_rate (now {self.hparams['learning_rate']})"
                )
            self.log(name, value, prog_bar=name == "val_fvu")

    def on_validation_epoch_end(self) -> None:
        """Log FVU, of every prefix where latents are nested, and statistics of the latent."""
        self._log_fvu()
        spread, ratio = self.latent_spread()
        self.log_dict({"latent_spread": spread.float(), "latent_participation_ratio": ratio.float()})
        self.log_dict({f"val_fvu_k/{size}": value for size, value in self.sums.curve().items()})
        if self.sums.kl:
            spectrum = torch.cat(self.sums.kl).mean(0).float()
            self.log_dict({"val_kl": spectrum.sum(), **{f"val_kl_latent/{i}": kl for i, kl in enumerate(spectrum, 1)}})

    on_test_epoch_end = _log_fvu

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return AdamW with linear warm-up and cosine decay over the whole run."""
        return make_optimizer(self, self.hparams, self.trainer)
