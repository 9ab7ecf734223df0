"""Runs a rival straight to its end, and again from its middle."""

import io

import numpy as np
import torch


def run_to_the_end(search, state):
    while state.learner.steps + search.cost(state) <= search.budget:
        state, _ = search.step(state)
    return state


def same(a, b):
    return torch.equal(a.params, b.params) and torch.equal(a.observation_mean, b.observation_mean)


def straight_and_resumed(make):
    """Return the states at the end of a search that `make` returns, and of one packed in its middle, asserted to be equal."""
    search = make()
    state, packed = search.begin(), io.BytesIO()
    while state.learner.steps < search.budget // 2:
        state, _ = search.step(state)
    torch.save(search.pack(state), packed)
    end = run_to_the_end(search, state)
    np.random.seed(5)
    torch.manual_seed(6)  # what others draw changes nothing
    packed.seek(0)
    again = make().unpack(torch.load(packed, weights_only=True))
    assert search.budget // 2 <= again.learner.steps < search.budget
    again = run_to_the_end(search, again)
    assert same(search.incumbent(again), search.incumbent(end))
    assert again.learner.returns.tolist() == end.learner.returns.tolist()
    return end, again
