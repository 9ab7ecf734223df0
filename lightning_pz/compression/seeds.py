"""Seeds of episodes: each purpose has a range of its own, whatever `--seed` is.

Episodes to train on lie in the upper half of 32 bits, as those of searches do; episodes that measure lie far below.
"""

from __future__ import annotations

import numpy as np

from lightning_pz.common.errors import UserError

HELD_OUT_SEEDS, RETURN_SEEDS = 5_000_000, 6_000_000
"""First seeds of the episodes for the behavior error, and of those for the return; the same for every run."""
MOST_MEASURED = 1_000_000
"""Episodes that fit between these two."""
FIRST_TRAINED = 1 << 31
SEED_MARGIN = 1 << 16
"""Environments side by side count upwards from the seed of the first, and must not leave the range."""


def visit_seeds(seed: int, round_number: int, count: int) -> list[int]:
    """Return seeds of the episodes in which states are visited to learn from: in round 0 by the policy itself."""
    return [_training_seed(seed, 0, round_number) + i for i in range(count)]


def segment_seed(seed: int, number: int) -> int:
    """Return the seed of the first environment of a segment of a training; those beside it count upwards."""
    return _training_seed(seed, 1, number)


def _training_seed(*words: int) -> int:
    drawn = int(np.random.SeedSequence(words).generate_state(1, np.uint32)[0])
    return FIRST_TRAINED + drawn % (FIRST_TRAINED - SEED_MARGIN)


def check_measured(flag: str, episodes: int, least: int) -> None:
    """Raise `UserError` for a flag's number of episodes that is outside `least` to `MOST_MEASURED`."""
    if not least <= episodes <= MOST_MEASURED:
        raise UserError(f"--{flag} expects {least} to {MOST_MEASURED} episodes, but got {episodes}")
