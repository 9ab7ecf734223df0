"""A training that is killed in one of its steps."""

import contextlib

import pytest

from lightning_pz.autoencoder.module import BehaviorAutoencoder


class Killed(Exception):
    pass


@contextlib.contextmanager
def killed_in_step(number):
    """Let a fit in the block die in a step, counted from 0, as by a signal that nothing handles."""
    straight = BehaviorAutoencoder.training_step

    def dies(self, batch, batch_idx):
        if self.global_step == number:
            raise Killed
        return straight(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(BehaviorAutoencoder, "training_step", dies)
        yield
