"""State samples: seeded, split by episode, standardized."""

import dataclasses

import numpy as np
import pytest
import torch

from lightning_pz.envs.specs import env_spec
from lightning_pz.errors import UserError
from lightning_pz.policy import Layout, Prior
from lightning_pz.pool.states import StateCounts, sample_states

COUNTS = StateCounts(probe=20, train=30, val=10, test=10)


def sample(env, seed=0, counts=COUNTS, episodes=4):
    spec = env_spec(env)
    layout = Layout(spec.observation_size, (4,), spec.action_size)
    return sample_states(spec, dataclasses.replace(counts, episodes=episodes), layout, Prior(), seed, progress=False)


def test_uniform_over_a_finite_box():
    drawn = sample("MountainCarContinuous-v0", counts=StateCounts(4000, 2, 2, 2))
    low, high = torch.tensor([-1.2, -0.07]), torch.tensor([0.6, 0.07])
    assert drawn.source == "uniform"
    assert (drawn.states >= low).all() and (drawn.states <= high).all()
    torch.testing.assert_close(drawn.mean, (low + high) / 2)
    torch.testing.assert_close(drawn.std, drawn.states.std(0), rtol=0.03, atol=0)


def test_rollouts_where_the_box_is_infinite():
    drawn = sample("Reacher-v5", episodes=4)
    assert drawn.source == "rollouts" and drawn.states.shape == (70, 10)
    assert torch.equal(drawn.states, sample("Reacher-v5", episodes=4).states)
    assert not torch.equal(drawn.states, sample("Reacher-v5", seed=1, episodes=4).states)


def test_parts_come_from_different_episodes():
    """Reacher's target stands still within an episode and is drawn anew for each: it names the episode."""
    drawn = sample("Reacher-v5", episodes=6)
    parts = [{tuple(s) for s in drawn.states[part, 4:6].tolist()} for part in COUNTS.slices().values()]
    for i, part in enumerate(parts):
        assert len(part) > 1
        assert not part & set().union(*parts[:i])


def test_statistics_see_no_held_out_state():
    drawn = sample("Reacher-v5", episodes=4)
    seen = drawn.states[:50].double()
    torch.testing.assert_close(drawn.mean.double(), seen.mean(0), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(drawn.std.double(), seen.std(0, correction=0), rtol=1e-4, atol=1e-6)


def test_too_few_states_say_what_to_do():
    with pytest.raises(UserError, match=r"lower it|--states"):
        sample("InvertedDoublePendulum-v5", counts=StateCounts(2000, 2, 2, 2), episodes=2)


def test_slices_cover_the_sample():
    covered = np.concatenate([np.arange(COUNTS.total)[part] for part in COUNTS.slices().values()])
    assert covered.tolist() == list(range(COUNTS.total))


def test_counts_are_checked():
    with pytest.raises(UserError, match=r"--states\.val expects at least 2"):
        StateCounts(val=1)
