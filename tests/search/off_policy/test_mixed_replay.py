"""Batches mix old and new transitions by the share, standardized and in units of the action box."""

import dataclasses

import gymnasium
import numpy as np
import pytest
import torch

from lightning_pz.policy import Layout, PolicyNetwork
from lightning_pz.search.off_policy.mixed_replay import MixedReplay

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
