"""Seeds of episodes and of a run's other random sources; every episode of a search or a growth has its seed from here."""

from __future__ import annotations

import numpy as np

TRAINING_SEEDS = 1 << 31  # Episode seeds from here on are for searching; evaluation and test seeds lie below
EVALUATION_SEEDS, TEST_SEEDS = 10_000_000, 20_000_000
"""First of the episode seeds that choose the incumbent, and of those that measure it; the same for every run."""


def episode_seeds(seed: int, generation: int, count: int) -> list[int]:
    """Return fresh episode seeds for a generation of a run, which its members share, since ranks compare them."""
    words = np.random.SeedSequence([seed, generation]).generate_state(count, np.uint32)
    return [TRAINING_SEEDS + int(word) % TRAINING_SEEDS for word in words]


def seed_of(seed: int, purpose: int) -> int:
    """Return the seed of one of a run's random sources, each of which has its own."""
    return int(np.random.SeedSequence(seed, spawn_key=(purpose,)).generate_state(1, np.uint64)[0] >> 1)
