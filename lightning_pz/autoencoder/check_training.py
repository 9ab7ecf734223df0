"""Refuses numbers with which no autoencoder trains, before its pool is made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lightning_pz.common.checks import at_least, positive
from lightning_pz.common.errors import UserError


def check_training(settings: Mapping[str, Any]) -> None:
    """Raise `UserError` for the first hyperparameter of `BehaviorAutoencoder` that cannot be."""
    if not 0 <= settings["dropout"] < 1:
        raise UserError(f"--model.dropout expects a share of at least 0 and below 1, but got {settings['dropout']}")
    positive({"model.learning_rate": settings["learning_rate"]})
    at_least(0, {"model.warmup_steps": settings["warmup_steps"]})
    for name in ("kl_weight", "weight_decay"):
        if not (math.isfinite(value := settings[name]) and value >= 0):
            raise UserError(f"--model.{name} expects a finite number of at least 0, but got {value}")
    for name in ("encoder_widths", "decoder_widths"):
        at_least(1, {f"model.{name}": min(settings[name], default=1)})
