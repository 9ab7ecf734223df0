"""Open a trained autoencoder, with a sentence for whatever is wrong with the file."""

from __future__ import annotations

from pathlib import Path

from lightning_pz.autoencoder.loose import read_loose
from lightning_pz.autoencoder.module import BehaviorAutoencoder
from lightning_pz.common.errors import UserError


def load_autoencoder(path: str | Path, policy: str | None = None) -> BehaviorAutoencoder:
    """Load a trained autoencoder on the CPU, in evaluation mode, or raise `UserError` with what is wrong.

    It is a checkpoint, or a folder that `python -m lightning_pz.export` wrote.
    Of one that decodes to several sizes of policy, `policy` names the one that its decoder, layout, statistics and pool are
    to be of: that of the first pool if None.
    """
    if Path(path).is_dir():
        model = read_loose(Path(path))
        model.use(policy)
        return model.eval()
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
    model.use(policy)
    return model.eval()
