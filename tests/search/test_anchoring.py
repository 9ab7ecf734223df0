"""The shift that makes a decoded policy act like the one it was decoded from."""

import pytest
import torch

from lightning_pz.policy import Layout, Prior, act_shared, draw_params, prior_scale
from lightning_pz.search.starts import anchoring_shift

LAYOUT = Layout(3, (8,), 2)
SCALE = prior_scale(Prior(), LAYOUT)


@pytest.fixture(scope="module")
def states():
    return torch.randn(300, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def given():
    """Three policies and what a decoder gives for them: other draws of the prior, as bad as can be."""
    return draw_params(Prior(), LAYOUT, 0, range(3)), draw_params(Prior(), LAYOUT, 1, range(3))


def difference(a, b, states):
    return (act_shared(LAYOUT, a, states) - act_shared(LAYOUT, b, states)).square().mean((1, 2))


def test_it_acts_like_the_given_policy_on_states_that_it_has_not_seen(given, states):
    params, decoded = given
    shift = anchoring_shift(LAYOUT, decoded, params, states[:200], states[:0], SCALE)
    before, after = difference(decoded, params, states[200:]), difference(decoded + shift, params, states[200:])
    assert (after < before / 5).all()
    # Not by taking over the weights: it stays where the decoder's directions mean something.
    assert (shift.norm(dim=1) < (params - decoded).norm(dim=1)).all()


def test_visited_states_count_as_much_as_all_others(given, states):
    params, decoded = given
    # Far from the sample, where its actions say nothing.
    visited = 3 + 0.1 * states[:8]
    plain = anchoring_shift(LAYOUT, decoded, params, states[:200], states[:0], SCALE)
    shift = anchoring_shift(LAYOUT, decoded, params, states[:200], visited, SCALE)
    assert (difference(decoded + shift, params, visited) < difference(decoded + plain, params, visited) / 5).all()


def test_a_policy_that_is_right_already_stays(given, states):
    shift = anchoring_shift(LAYOUT, given[0], given[0], states, states[:0], SCALE)
    assert not shift.any()


def test_each_policy_is_on_its_own_and_the_result_is_always_the_same(given, states):
    params, decoded = given
    together = anchoring_shift(LAYOUT, decoded, params, states, states[:5], SCALE)
    torch.testing.assert_close(
        anchoring_shift(LAYOUT, decoded[1:2], params[1:2], states, states[:5], SCALE),
        together[1:2],
        rtol=1e-3,
        atol=1e-4,
    )
    assert torch.equal(anchoring_shift(LAYOUT, decoded, params, states, states[:5], SCALE), together)


def test_a_weight_that_the_prior_holds_at_zero_stays(given, states):
    scale = SCALE.clone()
    scale[-2:] = 0
    shift = anchoring_shift(LAYOUT, given[1], given[0], states, states[:0], scale)
    assert not shift[:, -2:].any() and shift[:, :-2].any()


def test_no_gradient_is_left_behind_and_none_is_needed(given, states):
    with torch.no_grad():
        shift = anchoring_shift(LAYOUT, given[1], given[0], states, states[:0], SCALE)
    assert not shift.requires_grad and given[1].grad is None
