"""The batched forward and its gradients against torch.nn.Sequential, one policy at a time."""

import pytest
import torch

from lightning_pz.policy import (
    ACTIVATIONS,
    Layout,
    PolicyNetwork,
    Prior,
    act_each,
    act_shared,
    draw_params,
    restandardize,
)


@pytest.fixture(params=sorted(ACTIVATIONS))
def layout(request):
    return Layout(5, (7, 6), 3, request.param)


def test_forward_equals_sequential(layout):
    params = draw_params(Prior(), layout, 1, range(4))
    states = torch.randn(11, 5)
    expected = torch.stack([layout.to_sequential(p)(states) for p in params])
    torch.testing.assert_close(act_shared(layout, params, states), expected, atol=2e-6, rtol=1e-5)
    own = torch.randn(4, 11, 5)
    expected = torch.stack([layout.to_sequential(p)(s) for p, s in zip(params, own, strict=True)])
    torch.testing.assert_close(act_each(layout, params, own), expected, atol=2e-6, rtol=1e-5)


def test_backward_equals_autograd_of_sequential(layout):
    params = draw_params(Prior(), layout, 2, range(3)).requires_grad_()
    states = torch.randn(9, 5)
    weight = torch.randn(3, 9, 3)
    (act_shared(layout, params, states) * weight).sum().backward()
    for i in range(3):
        sequential = layout.to_sequential(params[i])
        (sequential(states) * weight[i]).sum().backward()
        expected = torch.cat([p.grad.flatten() for p in sequential.parameters()])
        torch.testing.assert_close(params.grad[i], expected, atol=1e-5, rtol=1e-4)


def test_gradient_matches_finite_differences():
    layout = Layout(2, (3,), 1)
    params = draw_params(Prior(), layout, 3, [0]).double().requires_grad_()
    states = torch.randn(4, 2, dtype=torch.double)
    assert torch.autograd.gradcheck(lambda p: act_each(layout, p, states[None]), params)


def test_standardization_and_action_box():
    layout = Layout(2, (4,), 2)
    mean, std = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0])
    low, high = torch.tensor([-3.0, 0.0]), torch.tensor([3.0, 0.4])
    network = PolicyNetwork(layout, mean, std, low, high)
    params = draw_params(Prior(gain=5.0), layout, 0, range(50))
    raw = mean + std * torch.randn(50, 6, 2)
    actions = network(params, raw)
    assert (actions >= low).all() and (actions <= high).all()
    middle = (low + high) / 2
    by_hand = torch.stack([layout.to_sequential(p)((s - mean) / std) for p, s in zip(params, raw, strict=True)])
    torch.testing.assert_close(actions, middle + by_hand * (high - low) / 2, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("std", [[1.0, 0.0], [1.0, float("nan")], [1.0]])
def test_bad_statistics_are_refused(std):
    with pytest.raises(ValueError, match="observation_std"):
        PolicyNetwork(Layout(2, (), 1), torch.zeros(2), torch.tensor(std), -torch.ones(1), torch.ones(1))


def test_restandardized_policies_act_as_before_on_raw_observations(layout):
    box = torch.tensor([-1.0, -2.0, 0.0]), torch.tensor([1.0, 3.0, 0.5])
    source = PolicyNetwork(layout, torch.randn(5), torch.rand(5) + 0.1, *box)
    target = PolicyNetwork(layout, torch.randn(5), torch.rand(5) * 10 + 0.1, *box)
    params, states = draw_params(Prior(), layout, 3, range(4)), torch.randn(4, 20, 5)
    moved = restandardize(params, source, target)
    torch.testing.assert_close(target(moved, states), source(params, states), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(target(params, states), source(params, states), atol=1e-2)
    assert torch.equal(restandardize(params, source, source), params)  # to the last bit


def test_what_no_weights_make_up_for_is_refused():
    layout = Layout(2, (3,), 1)
    zeros, ones = torch.zeros(2), torch.ones(1)
    network = PolicyNetwork(layout, zeros, zeros + 1, -ones, ones)
    params = torch.zeros(1, layout.num_params)
    for other in (
        PolicyNetwork(layout, zeros, zeros + 1, -ones, 2 * ones),
        PolicyNetwork(Layout(2, (4,), 1), zeros, zeros + 1, -ones, ones),
    ):
        with pytest.raises(ValueError, match="another layout or action box"):
            restandardize(params, network, other)
