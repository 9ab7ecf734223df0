"""A trained autoencoder as two files that hold no code: `model.safetensors` and `config.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lightning_pz.autoencoder.module import BehaviorAutoencoder
from lightning_pz.common.checks import check_extra
from lightning_pz.common.errors import UserError

WEIGHTS, CONFIG = "model.safetensors", "config.json"
_FORMAT = 1


def plain_settings(model: BehaviorAutoencoder) -> dict[str, Any]:
    """Return what the networks are made of, as plain data for `config.json`; infinite bounds stay infinite."""
    settings = {key: value for key, value in model.hparams.items() if not key.startswith("_")}
    return {"format": _FORMAT, "settings": settings}


def read_loose(folder: Path) -> BehaviorAutoencoder:
    """Return the autoencoder in a folder with these two files; `UserError` for what is missing, damaged or of later making."""
    check_extra("safetensors", "hub", f"{folder / WEIGHTS}")
    from safetensors.torch import load_file

    for name in (WEIGHTS, CONFIG):
        if not (folder / name).is_file():
            raise UserError(f"expected a folder that python -m lightning_pz.export wrote, but {folder} holds no {name}")
    try:
        kept = json.loads((folder / CONFIG).read_text())
        found, settings = kept["format"], kept["settings"]
        weights = load_file(folder / WEIGHTS)
        if found == _FORMAT:
            model = BehaviorAutoencoder(**settings)
            model.on_load_checkpoint({"state_dict": weights})
            model.load_state_dict(weights)
    except Exception as error:
        raise UserError(f"{folder} cannot be read ({type(error).__name__}: {error}): export it again") from error
    if found != _FORMAT:
        raise UserError(
            f"{folder / CONFIG} is of format {found}, and this version reads {_FORMAT}: install a later one"
        )
    return model
