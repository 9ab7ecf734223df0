"""A short Mountain Car search whose old data are those of a made-up policy."""

import numpy as np
import pytest

from lightning_pz.replay.transitions import Transitions


@pytest.fixture(scope="session")
def old_transitions() -> Transitions:
    """Return 300 transitions that no environment made: a position that the action moves, rewarded, with a few ends."""
    generator = np.random.default_rng(0)
    before = generator.uniform((-1.0, -0.05), (0.5, 0.05), (300, 2)).astype(np.float32)
    actions = generator.uniform(-1, 1, (300, 1)).astype(np.float32)
    after = before + np.float32(0.01) * actions
    ends = generator.random(300) < 0.1
    return Transitions(before, actions, after[:, 0].astype(np.float64), after, ends, np.arange(300) // 30)
