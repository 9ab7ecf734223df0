"""The optimizer of a training: AdamW with linear warm-up and cosine decay over the whole run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig

from lightning_pz.common.errors import UserError


def make_optimizer(module: torch.nn.Module, settings: Mapping[str, Any], trainer: Any) -> OptimizerLRSchedulerConfig:
    """Return optimizer and schedule for the parameters that are trained.

    Settings: `learning_rate`, the peak; `weight_decay`, decoupled; `warmup_steps`, W. In step t of T, from 0 on, the
    learning rate is the peak times `min(1, (t + 1) / (W + 1)) (1 + cos(pi max(0, t - W) / (T - W))) / 2`.

    Raises:
        UserError: The trainer has no limit of steps, so that the schedule has no end.

    References:
        Loshchilov and Hutter, "Decoupled weight decay regularization", 2019; the cosine is that of their "SGDR:
        stochastic gradient descent with warm restarts", 2017, without restarts.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    # A fused step unscales gradients itself, after which Lightning may not clip them under mixed precision.
    fused = "mixed" not in str(trainer.precision)
    rates = {"lr": settings["learning_rate"], "weight_decay": settings["weight_decay"]}
    optimizer = torch.optim.AdamW(parameters, **rates, fused=fused)
    total, warmup = trainer.estimated_stepping_batches, settings["warmup_steps"]
    if not math.isfinite(total):
        raise UserError("--trainer.max_steps expects a number of steps above 0, so that the schedule has an end")

    def factor(step: int) -> float:
        rest = max(0.0, (step - warmup) / max(1, total - warmup))
        return min(1.0, (step + 1) / (warmup + 1)) * 0.5 * (1 + math.cos(math.pi * min(1.0, rest)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
