"""Old transitions in the buffer of a library's learner: shares of a batch, what they are, and resumption."""

import dataclasses
import io

import gymnasium
import numpy as np
import pytest
import torch

from lightning_pz.envs.specs import env_spec
from lightning_pz.envs.tasks import find_task
from lightning_pz.policy import Layout, PolicyNetwork
from lightning_pz.replay.transitions import Transitions
from lightning_pz.search.objective import Problem
from lightning_pz.search.rivals.hyperparameters import default_hyperparameters, with_old_data
from lightning_pz.search.rivals.old_buffer import OldAndNewReplay
from lightning_pz.search.rivals.search import BaselineSearch
from lightning_pz.search.settings import SearchSettings


def transitions(count=50):
    """Return transitions whose reward is 100 and more, by which a test knows them."""
    generator = np.random.default_rng(0)
    seen = generator.standard_normal((count, 3)).astype(np.float32)
    actions = generator.uniform(-2, 2, (count, 1)).astype(np.float32)
    ended = np.arange(count) % 5 == 0
    return Transitions(seen, actions, 100.0 + np.arange(count), seen + 1, ended, np.zeros(count, dtype=np.int64))


def buffer(share, enough, new):
    box = gymnasium.spaces.Box(-2, 2, (1,), np.float32)
    sight = gymnasium.spaces.Box(-9, 9, (3,), np.float32)
    made = OldAndNewReplay(100, sight, box, device="cpu", old=transitions, share=share, enough=enough)
    for number in range(new):
        made.add(
            np.zeros((1, 3)), np.ones((1, 3)), np.zeros((1, 1)), np.array([float(number)]), np.array([False]), [{}]
        )
    return made


@pytest.mark.parametrize(("new", "old"), [(1, 40), (19, 40), (20, 10)])
def test_a_batch_holds_its_share_of_old_transitions_once_there_are_new_ones(new, old):
    np.random.seed(0)
    batch = buffer(0.25, 20, new).sample(40)
    is_old = batch.rewards[:, 0] >= 100
    assert len(batch.rewards) == 40 and int(is_old.sum()) == old


def test_old_transitions_are_those_of_the_pool_with_actions_in_units_of_the_box():
    np.random.seed(1)
    batch, found = buffer(1.0, 1, 1).sample(30), transitions()
    rows = (batch.rewards[:, 0] - 100).long().numpy()
    np.testing.assert_array_equal(batch.observations, found.observations[rows])
    np.testing.assert_array_equal(batch.next_observations, found.next_observations[rows])
    np.testing.assert_allclose(batch.actions * 2, found.actions[rows], atol=1e-6)
    np.testing.assert_array_equal(batch.dones[:, 0], found.terminated[rows])


@pytest.mark.parametrize("algorithm", ["sac", "td3", "tqc"])
def test_resumed_equals_straight_and_old_data_change_what_is_learned(algorithm):
    spec = dataclasses.replace(env_spec("Pendulum-v1"), horizon=25)
    network = PolicyNetwork(Layout(3, (8,), 1), torch.zeros(3), torch.ones(3), -2 * torch.ones(1), 2 * torch.ones(1))
    problem = Problem(network, spec, "standard", find_task(spec.id, "standard"))
    plain = default_hyperparameters(algorithm, (8,), 100)
    plain = dataclasses.replace(plain, arguments=plain.arguments | {"batch_size": 16, "learning_starts": 0})
    given = with_old_data(plain, transitions, SearchSettings(algorithm=algorithm, space="own"))

    def policy_of(made, stop=None):
        search = BaselineSearch(algorithm, made, problem, seed=0, budget=100, chunk=1)
        state = search.begin()
        while state.learner.steps + search.cost(state) <= search.budget:
            state, _ = search.step(state)
            if stop is not None and state.learner.steps >= stop:
                file, stop = io.BytesIO(), None
                torch.save(search.pack(state), file)
                file.seek(0)
                state = search.unpack(torch.load(file, weights_only=True))
        return search.incumbent(state).params

    straight = policy_of(given)
    assert torch.equal(policy_of(given, stop=50), straight) and not torch.equal(policy_of(plain), straight)
