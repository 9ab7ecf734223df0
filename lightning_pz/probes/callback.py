"""The callback that measures the latent space while a fit trains and writes probes.json at its end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from lightning_pz.common.checks import at_least, seeds
from lightning_pz.common.errors import UserError
from lightning_pz.common.files import write_json
from lightning_pz.probes import decoder
from lightning_pz.probes.extra import check_estimators
from lightning_pz.probes.measure import SpaceProbe, measure_space, plain_estimate

PROBES_FORMAT = 1
STATES = 64  # Held-out states on which the decoder's Jacobian is taken


class ProbeCallback(L.Callback):
    """Measures dimension and use of the latent space on held-out policies; draws from generators of its own alone.

    Args:
        enabled: Measure at all.
        policies: N, held-out policies that are measured; all of them if there are fewer.
        latents: Latents at which the decoder's Jacobian is taken.
        neighbors: Neighbors of the Levina-Bickel estimate.
        every: Validations from one measurement to the next; the end of training is always measured.
        extra: Estimators of scikit-dimension to add at the end, by name (extra `dimension`).
        seed: Of surrogates and of the choice of policies.
    """

    def __init__(
        self,
        enabled: bool = True,
        policies: int = 2000,
        latents: int = 32,
        neighbors: int = 20,
        every: int = 5,
        extra: Sequence[str] = (),
        seed: int = 0,
    ) -> None:
        at_least(3, {"probes.policies": policies})
        at_least(2, {"probes.latents": latents, "probes.neighbors": neighbors})
        at_least(1, {"probes.every": every})
        seeds({"probes.seed": seed})
        if neighbors >= policies:
            raise UserError(
                f"--probes.neighbors expects fewer than --probes.policies ({policies}), but got {neighbors}"
            )
        check_estimators(extra if enabled else ())
        self.enabled, self.policies, self.latents, self.neighbors = enabled, policies, latents, neighbors
        self.every, self.extra, self.seed = every, list(extra), seed
        self._validations = 0
        self._behavior: tuple[SpaceProbe, Any, Tensor] | None = None

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the estimates as `probes/<space>/<probe>`."""
        if not self.enabled or trainer.sanity_checking or not trainer.is_global_zero:
            return
        self._validations += 1
        if (self._validations - 1) % self.every:
            return
        parts = ["latent", "map", *(["behavior"] if self._behavior is None else [])]
        report = self.measure(pl_module, self._held_out(trainer), final=False)
        values = {f"probes/{p}/{name}": one["value"] for p in parts for name, one in report[p]["estimates"].items()}
        pl_module.log_dict({key: value for key, value in values.items() if value is not None}, rank_zero_only=True)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure the best checkpoint, each estimate beside its surrogate, and write probes.json."""
        if not self.enabled or not trainer.is_global_zero:
            return
        # Checkpoints lie in a folder of their own in that of the run.
        folder = Path(str(trainer.checkpoint_callback.dirpath)).parent  # type: ignore[union-attr]
        write_report(self.measure(pl_module, self._held_out(trainer), final=True), folder)

    def _held_out(self, trainer: L.Trainer) -> Any:
        part = trainer.datamodule.val  # type: ignore[attr-defined]
        return part[(np.arange(min(self.policies, len(part))), np.arange(min(STATES, len(part.states))))]

    def measure(self, module: Any, batch: Any, *, final: bool) -> dict[str, Any]:
        """Return the contents of probes.json for an autoencoder in evaluation mode and held-out policies.

        The final measurement adds surrogates and the estimators of scikit-dimension.
        """
        count = len(batch.fingerprints)
        # Nothing of inference mode may stay: forward-mode differentiation does not work on its tensors.
        with torch.inference_mode(False), torch.no_grad():
            moved = type(batch)(*(part.clone().to(module.device) for part in batch))
            latents = module._encode_batch(moved).float()
            covariance = module.latent_covariance.clone().cpu()
            behavior, ranks, rows = self._known(batch.fingerprints.flatten(1), final)
            found = self._space(latents.cpu(), final)
            picked = np.random.default_rng(self.seed).permutation(count)[: self.latents]
            mapped = decoder.jacobian_probes(module.decoder, module.layout, moved.states, latents[picked], covariance)
            used, spectra = decoder.active_probes(
                module.decoder, covariance, decoder.variational_divergences(module, moved)
            )
            agreed, notes = decoder.agreement_probes(ranks, latents.cpu()[rows])
        mapped |= used | agreed
        silent = [name for name, estimate in mapped.items() if math.isnan(estimate.value) and name not in notes]
        description = module.hparams["description"]
        return {
            "format_version": PROBES_FORMAT,
            "env": description["env"]["id"],
            "policy": description["policy"],
            "prior": description["prior"],
            "observation_size": module.layout.observation_size,
            "action_size": module.layout.action_size,
            "latent_dim": module.hparams["latent_dim"],
            "seed": description["seed"],
            "probe_seed": self.seed,
            "policies": count,
            "behavior": {"space": f"behavior on {len(module.probe_states)} probe states", **behavior.plain()},
            "latent": {"space": "latents of the same policies", **found.plain()},
            "map": {
                "latents": len(picked),
                "states": len(moved.states),
                "estimates": {name: plain_estimate(estimate) for name, estimate in mapped.items()},
                "spectra": spectra,
                "notes": notes | dict.fromkeys(silent, "the decoder ignores its latent"),
            },
        }

    def _space(self, points: Tensor, final: bool) -> SpaceProbe:
        extra = self.extra if final else ()
        return measure_space(points, neighbors=self.neighbors, seed=self.seed, surrogate=final, extra=extra)

    def _known(self, fingerprints: Tensor, final: bool) -> tuple[SpaceProbe, Any, Tensor]:
        """Return what depends on the pool alone: measured at the first call, its surrogate at the last."""
        if self._behavior is None or final:
            ranks, rows = self._behavior[1:] if self._behavior else decoder.rank_behaviors(fingerprints)
            self._behavior = (self._space(fingerprints, final), ranks, rows)
        return self._behavior


def write_report(report: dict[str, Any], folder: Path) -> None:
    """Write probes.json into a run folder."""
    write_json(folder / "probes.json", report)
