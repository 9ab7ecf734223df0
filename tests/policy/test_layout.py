"""Packing, unpacking and torch's own order of parameters."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_pz.common.errors import UserError
from lightning_pz.policy import ACTIVATIONS, Layout, draw_params
from lightning_pz.policy.priors import Prior

# Built inside the tests: beartype draws random items to check, which hypothesis forbids inside a strategy.
sizes = st.tuples(
    st.integers(1, 7),
    st.lists(st.integers(1, 9), max_size=3).map(tuple),
    st.integers(1, 4),
    st.sampled_from(sorted(ACTIVATIONS)),
)


@given(sizes, st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_unpack_then_pack_is_the_identity(size, policies):
    layout = Layout(*size)
    params = torch.randn(policies, layout.num_params)
    layers = layout.unpack(params)
    assert [tuple(weight.shape[1:]) for weight, _ in layers] == list(layout.weight_shapes)
    assert torch.equal(layout.pack(layers), params)


@given(sizes)
@settings(max_examples=40, deadline=None)
def test_flat_order_is_torchs(size):
    layout = Layout(*size)
    params = draw_params(Prior(), layout, 0, [0])[0]
    sequential = layout.to_sequential(params)
    assert torch.equal(torch.nn.utils.parameters_to_vector(sequential.parameters()), params)
    assert layout.num_params == sum(p.numel() for p in sequential.parameters())


def test_published_large_size():
    assert Layout(2, (400, 300), 1).num_params == 121_801


def test_wrong_length_is_named():
    with pytest.raises(ValueError, match="9 params, but got vectors of 10"):
        Layout(2, (2,), 1).unpack(torch.zeros(1, 10))


@pytest.mark.parametrize("hidden, activation", [((0,), "tanh"), ((4,), "tahn")])
def test_bad_layout_is_refused(hidden, activation):
    with pytest.raises(UserError):
        Layout(2, hidden, 1, activation)


def test_unknown_activation_suggests_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'tanh'"):
        Layout(2, (4,), 1, "tahn")


def test_a_layout_pickled_before_heads_has_the_head_of_then():
    old = Layout.__new__(Layout)
    old.__setstate__({"observation_size": 3, "hidden": (8,), "action_size": 2, "activation": "relu"})
    assert old == Layout(3, (8,), 2, "relu") and old.feature_size == 2
