"""Open a trained autoencoder, with a sentence for whatever is wrong with the file."""

from __future__ import annotations

from pathlib import Path

from lightning_pz.autoencoder.module import BehaviorAutoencoder
from lightning_pz.common.errors import UserError


def load_autoencoder(path: str | Path) -> BehaviorAutoencoder:
    """Load a trained autoencoder on the CPU, in evaluation mode, or raise `UserError` with what is wrong."""
    if not Path(path).is_file():
        raise UserError(f"--checkpoint expects a checkpoint file, but there is none at {path}")
    try:
        model = BehaviorAutoencoder.load_from_checkpoint(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{path} is no checkpoint of a behavior autoencoder ({type(error).__name__}): give a best.ckpt or last.ckpt "
            "that python -m lightning_pz.fit wrote"
        ) from error
    if model.hparams["description"] is None:
        raise UserError(f"{path} was saved before training began and holds no networks: give best.ckpt or last.ckpt")
    return model.eval()
