"""Critics side by side are MLPs of their own, and their gradients by hand those of automatic differentiation."""

import pytest
import torch
from torch import nn

from lightning_pz.search.off_policy.critics import Critics


def plain(critics, number):
    """Return one critic as modules of PyTorch."""
    parts = critics.flat[number].detach().split(critics.splits)
    modules = []
    for place, (size, out) in enumerate(critics.shapes):
        if place:
            modules += [nn.LayerNorm(size, elementwise_affine=False)] if critics.normalize else []
            modules += [nn.ReLU()]
        modules.append(nn.Linear(size, out))
        with torch.no_grad():
            modules[-1].weight.copy_(parts[2 * place].unflatten(0, (size, out)).T)
            modules[-1].bias.copy_(parts[2 * place + 1])
    return nn.Sequential(*modules)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("hidden", [[12], [12, 8, 6]])
def test_values_and_gradients(normalize, hidden):
    torch.manual_seed(0)
    critics = Critics(3, 5, hidden, 2, normalize=normalize)
    states, actions, pull = torch.randn(40, 3), torch.randn(40, 2), torch.randn(3, 40, 2)
    networks = [plain(critics, number) for number in range(3)]
    leaf = actions.clone().requires_grad_()
    inputs = torch.cat([states, leaf], 1)
    expected = torch.stack([network(inputs) for network in networks])
    (expected * pull).sum().backward()
    torch.testing.assert_close(critics.values(critics.flat, inputs.detach()), expected.detach())
    found = critics.gradients(inputs.detach(), lambda values: pull)
    for number, network in enumerate(networks):
        parts = found[number].split(critics.splits)
        layers = [module for module in network if isinstance(module, nn.Linear)]
        for place, (layer, shape) in enumerate(zip(layers, critics.shapes, strict=True)):
            torch.testing.assert_close(parts[2 * place].unflatten(0, shape).T, layer.weight.grad, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(parts[2 * place + 1], layer.bias.grad, rtol=1e-4, atol=1e-5)
    own = actions.clone().requires_grad_()
    (critics.values_of(states, own, None) * pull).sum().backward()
    torch.testing.assert_close(own.grad, leaf.grad, rtol=1e-4, atol=1e-5)
    assert critics.values_of(states, own, 2).shape == (2, 40, 2)
