"""Seeds of episodes: each purpose has a range of its own, whatever `--seed` is.

What is trained on lies in the upper half of 32 bits, as the episodes of searches do; what judges lies far below.
"""

from __future__ import annotations

import numpy as np

HELD_OUT_SEEDS, TEST_SEEDS = 5_000_000, 6_000_000
"""First seeds of the episodes for the behavior error, and of those for the return; the same for every run."""
MOST_JUDGED = 1_000_000
"""Episodes that fit between two of these numbers."""
TRAINING_SEEDS = 1 << 31
"""Seeds of episodes that train begin here."""
_ROOM = 1 << 16
"""Environments side by side count upwards from the seed of the first, and must not leave the range."""


def visit_seeds(seed: int, round_number: int, count: int) -> list[int]:
    """Return seeds of the episodes in which states are visited to learn from.

    Args:
        seed: Of the run.
        round_number: 0 for those of the policy itself, then those of the compressed one.
        count: How many, all different.
    """
    return [training_seed(seed, 0, round_number) + i for i in range(count)]


def segment_seed(seed: int, number: int) -> int:
    """Return the seed of the first environment of a segment of a training; those beside it count upwards."""
    return training_seed(seed, 1, number)


def training_seed(*words: int) -> int:
    """Return the first of up to 65,536 seeds that belong to whole numbers of at least 0."""
    drawn = int(np.random.SeedSequence(words).generate_state(1, np.uint32)[0])
    return TRAINING_SEEDS + drawn % (TRAINING_SEEDS - _ROOM)
