"""Batches mix old and new transitions by the share, standardized and in units of the action box."""

import dataclasses

import gymnasium
import numpy as np
import pytest
import torch

from lightning_pz.policy import Layout, PolicyNetwork
from lightning_pz.search.off_policy.mixed_replay import MixedReplay, returns_of_steps

NETWORK = PolicyNetwork(
    Layout(2, (4,), 1), torch.tensor([1.0, 2.0]), torch.tensor([2.0, 4.0]), torch.tensor([-4.0]), torch.tensor([8.0])
)


@pytest.fixture
def filled(old_transitions):
    """Return a function from a share to a buffer whose 30 new rewards are 1000 and more; the last two are ends."""

    def make(share, old=old_transitions, new=30):
        box = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64), gymnasium.spaces.Box(-4, 8, (1,))
        buffer = MixedReplay(50, *box, "cpu", network=NETWORK, old=old, share=share, enough=20)
        for step in range(new):
            state = np.full((1, 2), float(step))
            infos = [{"TimeLimit.truncated": step == new - 2}]
            buffer.add(
                state, state + 1, np.array([[0.25]]), np.array([1000.0 + step]), np.array([step >= new - 2]), infos
            )
        return buffer

    return make


def test_the_share_counts_once_there_is_enough_that_is_new(filled):
    assert (filled(0.25).batch(40).rewards >= 1000).sum() == 30
    assert (filled(0.0).batch(40).rewards >= 1000).all()
    assert not (filled(1.0).batch(40).rewards >= 1000).any()
    assert not (filled(0.25, new=19).batch(40).rewards >= 1000).any()  # too few: all are old
    assert (filled(0.25, old=None, new=19).batch(40).rewards >= 1000).all()


def test_new_transitions_are_standardized_and_a_horizon_is_no_end(filled):
    torch.manual_seed(0)
    batch = filled(0.0).batch(400)
    step = batch.rewards - 1000
    torch.testing.assert_close(batch.states, torch.stack([(step - 1) / 2, (step - 2) / 4], 1))
    torch.testing.assert_close(batch.following, torch.stack([step / 2, (step - 1) / 4], 1))
    assert torch.equal(batch.continues, (step != 29).float()) and (batch.actions == 0.25).all()


def test_old_transitions_are_standardized_and_their_actions_scaled(filled, old_transitions):
    torch.manual_seed(0)
    marked = dataclasses.replace(old_transitions, rewards=np.arange(300.0), actions=old_transitions.actions * 6 + 2)
    batch = filled(1.0, old=marked).batch(100)
    rows = batch.rewards.long().numpy()
    assert len(set(rows)) > 60
    torch.testing.assert_close(batch.actions, torch.from_numpy(old_transitions.actions[rows]))
    torch.testing.assert_close(batch.states, NETWORK.standardize(torch.from_numpy(marked.observations[rows])))
    torch.testing.assert_close(batch.following, NETWORK.standardize(torch.from_numpy(marked.next_observations[rows])))
    assert np.array_equal(batch.continues.numpy() == 0, marked.terminated[rows])


@pytest.mark.parametrize("steps", [1, 3, 40])
def test_returns_of_several_steps_stop_with_their_episode(steps, old_transitions):
    """Against step after step by hand; an end stops a return as the cut of an episode does, but nothing continues after it."""
    old, rewards = old_transitions, old_transitions.rewards
    totals, last, continues = returns_of_steps(old, steps, 0.9)
    stopped = set()
    for first in range(len(old)):
        total, place = 0.0, first
        for power in range(steps):
            place = first + power
            total += 0.9**power * rewards[place]
            if old.terminated[place] or place + 1 == len(old) or old.episode[place + 1] != old.episode[place]:
                break
        expected = 0.0 if old.terminated[place] else 0.9 ** (place - first)
        assert last[first] == place and continues[first] == pytest.approx(expected)
        assert totals[first] == pytest.approx(total, abs=1e-12)
        stopped.add((place - first < steps - 1, bool(old.terminated[place])))
    assert len(stopped) == (2 if steps == 1 else 4 if steps == 3 else 2)


def test_a_batch_holds_returns_of_several_steps_with_the_state_that_they_reach(old_transitions):
    box = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64), gymnasium.spaces.Box(-4, 8, (1,))
    more = {"network": NETWORK, "share": 1.0, "enough": 20, "old_steps": 3, "discount": 0.9}
    torch.manual_seed(0)
    batch = MixedReplay(50, *box, "cpu", old=old_transitions, **more).batch(200)
    rewards, last, continues = returns_of_steps(old_transitions, 3, 0.9)
    states = NETWORK.standardize(torch.from_numpy(old_transitions.observations))
    rows = torch.cdist(batch.states, states).argmin(1).numpy()
    torch.testing.assert_close(batch.rewards, torch.from_numpy(rewards[rows]).float())
    torch.testing.assert_close(batch.continues, torch.from_numpy(continues[rows]).float())
    following = torch.from_numpy(old_transitions.next_observations[last[rows]])
    torch.testing.assert_close(batch.following, NETWORK.standardize(following))
