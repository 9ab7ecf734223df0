"""Masks, gates, levels and factors, each against a closed form, NumPy, finite differences or a simulation."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from lightning_pz.common.errors import UserError
from lightning_pz.compression.methods.l0 import HardConcrete, gate, open_probability
from lightning_pz.compression.methods.low_rank import Factors, rank_by_count, rank_by_energy, rank_by_error, truncate
from lightning_pz.compression.methods.quantize import (
    ActivationInt8,
    calibrate_activations,
    fake_levels,
    from_levels,
    to_levels,
)
from lightning_pz.compression.methods.stack import Mask, Stack, magnitude_mask


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def test_the_largest_weights_are_kept(generator):
    weight = torch.randn(20, 30, generator=generator)
    mask = magnitude_mask(weight, torch.ones(20, 30, dtype=torch.bool), 57)
    smallest = np.sort(np.abs(weight.numpy()).ravel())[-57]
    assert torch.equal(mask, weight.abs() >= float(smallest)) and int(mask.sum()) == 57
    ties = magnitude_mask(torch.ones(2, 3), torch.ones(2, 3, dtype=torch.bool), 2)
    assert ties.tolist() == [[True, True, False], [False, False, False]]


def test_what_is_pruned_never_comes_back_and_gets_no_gradient(generator):
    mask = Mask((10, 10))
    mask.shrink(torch.randn(10, 10, generator=generator), 60)
    before = mask.keep.clone()
    weight = torch.where(before, 0.01, 100.0).requires_grad_()  # the pruned have grown huge
    mask.shrink(weight.detach(), 50)
    assert not (mask.keep & ~before).any() and int(mask.keep.sum()) == 50
    mask.shrink(weight.detach(), 80)
    assert int(mask.keep.sum()) == 50
    mask(weight).sum().backward()
    assert torch.equal(weight.grad != 0, mask.keep)
    assert torch.isfinite(mask(torch.where(mask.keep, 1.0, torch.inf))).all()


@pytest.mark.parametrize("location", [-4.0, -1.0, 0.0, 0.7, 3.0])
def test_expected_open_gates_match_a_simulation(location, generator):
    log_alpha = torch.full((200_000,), location)
    opened = gate(log_alpha, torch.rand(200_000, generator=generator).clamp(1e-6, 1 - 1e-6)) > 0
    expected = float(open_probability(log_alpha[0]))
    error = 4 * math.sqrt(expected * (1 - expected) / 200_000) + 1e-9
    assert float(opened.float().mean()) == pytest.approx(expected, abs=error)


def test_gates_and_their_gradients_match_the_formula_and_finite_differences(generator):
    location = torch.tensor([-1.5, -0.2, 0.3, 1.1], dtype=torch.float64, requires_grad=True)
    uniform = torch.tensor([0.4, 0.5, 0.6, 0.3], dtype=torch.float64)
    u = uniform.numpy()
    s = 1 / (1 + np.exp(-(np.log(u / (1 - u)) + location.detach().numpy()) / (2 / 3)))
    assert gate(location, uniform).tolist() == pytest.approx(np.clip(s * 1.2 - 0.1, 0, 1).tolist())
    assert torch.autograd.gradcheck(lambda a: gate(a, uniform), location)
    assert torch.autograd.gradcheck(gate, location)
    assert torch.autograd.gradcheck(open_probability, location)


def test_gates_start_open_as_asked_and_noise_is_drawn_only_on_request(generator):
    gates = HardConcrete((50, 40), start=0.8)
    assert gates.expected_open().item() == pytest.approx(0.8 * 2000, rel=1e-5)
    weight = torch.ones(50, 40)
    first = gates(weight)
    assert torch.equal(gates(weight), first)
    gates.draw(generator)
    second = gates(weight)
    assert not torch.equal(second, first)
    gates.draw(torch.Generator().manual_seed(7))
    third = gates(weight).clone()
    gates.draw(torch.Generator().manual_seed(7))
    assert torch.equal(gates(weight), third)
    assert torch.equal(gates.eval()(weight), gate(gates.log_alpha))
    assert torch.equal(gates.open(), gates(weight) > 0)


def steps(steps, bits):
    """Return float32 steps as they are for 8 bits, for 4 with 8 binary digits: to the nearest, ties to even."""
    if bits == 8:
        return steps
    mantissa, exponent = np.frexp(steps.astype(np.float64))
    return np.ldexp(np.rint(mantissa * 2**8), exponent - 8).astype(np.float32)


@pytest.mark.parametrize(("bits", "most"), [(8, 127), (4, 7)])
@pytest.mark.parametrize("shape", [(6, 5), (4, 3, 2, 2)])
def test_levels_are_the_nearest_in_numpy(shape, bits, most, generator):
    weight = torch.randn(shape, generator=generator)
    weight[0] *= 10
    flat = weight.numpy().reshape(shape[0], -1)
    largest = np.abs(flat).max(axis=1, keepdims=True) if len(shape) > 2 else np.abs(flat).max(keepdims=True)
    step = steps(largest / most, bits)
    wanted = np.round(flat / step)
    rounded = fake_levels(weight, bits)
    assert rounded.numpy().reshape(shape[0], -1) == pytest.approx(wanted * step, rel=1e-5, abs=1e-7)
    levels, scale = to_levels(weight, bits)
    assert np.array_equal(levels.numpy().reshape(shape[0], -1), wanted) and int(levels.abs().max()) == most
    assert len(scale) == (shape[0] if len(shape) > 2 else 1)
    assert torch.equal(from_levels(levels, scale), rounded)
    # A scale of 8 binary digits may end a little before the largest weight.
    over = 1.0001 if bits == 8 else 1 + 2 * most / 2**8
    assert float((rounded - weight).abs().max()) <= float(scale.max()) / 2 * over
    # What is on levels stays there.
    assert torch.equal(to_levels(rounded, bits)[0], levels)


@pytest.mark.parametrize("bits", [8, 4])
def test_zeros_stay_zeros_and_the_gradient_passes_straight_through(bits, generator):
    weight = torch.randn(8, 8, generator=generator)
    weight[weight.abs() < 0.8] = 0
    assert torch.equal(fake_levels(weight, bits)[weight == 0], torch.zeros(int((weight == 0).sum())))
    assert torch.equal(fake_levels(torch.zeros(3, 3), bits), torch.zeros(3, 3))
    leaf = weight.clone().requires_grad_()
    pull = torch.randn(8, 8, generator=generator)
    (fake_levels(leaf, bits) * pull).sum().backward()
    assert torch.equal(leaf.grad, pull)


def test_rounded_activations_have_the_scale_of_the_least_error(generator):
    rounding = ActivationInt8()
    x = torch.cat([torch.randn(100_000, generator=generator), torch.tensor([40.0])])
    assert torch.equal(rounding(x), x)
    rounding.calibrate(x)
    rounding.on = True

    def error(largest):
        step = largest / 127
        return float((np.clip(np.rint(x.numpy() / step), -127, 127) * step - x.numpy()).astype(float).__pow__(2).sum())

    # By brute force; the outlier is not worth steps ten times coarser for all others, nor is it cut off for nothing.
    best = min(np.linspace(0.2, 1, 33) * 40, key=error)
    assert float(rounding.largest) == pytest.approx(best, rel=1e-5) and best < 40
    rounding.largest.fill_(5)
    leaf = torch.tensor([0.0, 1.0, 9.0], requires_grad=True)
    step = 5 / 127
    rounded = rounding(leaf)
    assert rounded.tolist() == pytest.approx([0, round(1 / step) * step, 5], rel=1e-6)
    rounded.sum().backward()
    assert leaf.grad.tolist() == [1, 1, 0]


def test_each_rounding_is_calibrated_on_what_reaches_it(generator):
    network = nn.Sequential(nn.Linear(3, 4), ActivationInt8(), nn.Linear(4, 2), ActivationInt8())
    states = torch.randn(50, 3, generator=generator)
    for rounding in network[1::2]:
        rounding.on = True
    calibrate_activations(network, states)
    twin = ActivationInt8()
    twin.calibrate(network[0](states))
    assert torch.equal(twin.largest, network[1].largest)
    twin.calibrate(network[2](network[1](network[0](states))))
    assert torch.equal(twin.largest, network[3].largest)


@pytest.mark.parametrize(("bits", "most"), [(8, 127), (4, 7)])
def test_levels_per_channel_are_the_nearest_in_numpy(bits, most, generator):
    weight = torch.randn(6, 5, generator=generator) * torch.tensor([0.01, 1, 5, 0.3, 0, 2])[:, None]
    largest = weight.abs().amax(1, keepdim=True).clamp_min(1e-30).numpy()
    step = steps(largest / most, bits)
    wanted = np.round(weight.numpy() / step) * step
    rounded = fake_levels(weight, bits, per_channel=True)
    assert rounded.numpy() == pytest.approx(wanted, rel=1e-5, abs=1e-7)
    levels, scale = to_levels(weight, bits, per_channel=True)
    assert levels.abs().amax(1).tolist() == [most, most, most, most, 0, most]
    assert scale.shape == (6,) and torch.equal(from_levels(levels, scale), rounded)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("per_channel", [False, True])
def test_a_stack_rounds_its_weight_and_its_factors_to_its_bits(bits, per_channel, generator):
    weight = torch.randn(6, 5, generator=generator)
    stack = Stack(weight, bits, per_channel=per_channel)
    assert torch.equal(stack(weight), weight)
    stack.rounds = True
    assert torch.equal(stack(weight), fake_levels(weight, bits, per_channel=per_channel))
    stack.factorize(weight, 2)
    left, right = (fake_levels(f, bits, per_channel=per_channel) for f in (stack.factors.left, stack.factors.right))
    assert torch.equal(stack(weight), left @ right)
    twin = Stack(weight, bits, per_channel=per_channel)
    twin.restore(stack.state())
    assert torch.equal(twin(weight), left @ right)


def test_truncation_is_numpys_and_the_best(generator):
    matrix = torch.randn(12, 9, generator=generator)
    u, s, vh = np.linalg.svd(matrix.numpy(), full_matrices=False)
    for rank in (1, 4, 9):
        left, right = truncate(matrix, rank)
        assert left.shape == (12, rank) and right.shape == (rank, 9)
        assert (left @ right).numpy() == pytest.approx((u[:, :rank] * s[:rank]) @ vh[:rank], abs=1e-5)
        # Eckart and Young: the error is the root of the dropped energy.
        assert float((matrix - left @ right).norm()) == pytest.approx(math.sqrt((s[rank:] ** 2).sum()), abs=1e-5)


def test_ranks_by_energy_count_and_error():
    matrix = torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.0]))  # energies 9, 4, 1, 0
    assert [rank_by_energy(matrix, share) for share in (0.5, 9 / 14, 0.7, 13 / 14, 0.95, 1.0)] == [1, 1, 2, 2, 3, 3]
    assert rank_by_energy(torch.zeros(3, 3), 0.9) == 1
    for share in (0.01, 0.3, 0.5, 0.9):
        rank = rank_by_count((64, 64), share)
        assert rank == 1 or rank * 128 <= share * 64 * 64 < (rank + 1) * 128
    asked = []
    assert rank_by_error(40, lambda rank: asked.append(rank) or 1 / rank, 1 / 23) == 23
    assert len(asked) <= 6
    assert rank_by_error(8, lambda rank: 1.0, 0.5) == 8


def test_factors_stand_for_their_product_with_gradients(generator):
    weight = torch.randn(6, 4, 3, 3, generator=generator)
    factors = Factors(weight, 6)
    assert factors(weight).detach().numpy() == pytest.approx(weight.numpy(), abs=1e-5)
    small = Factors(torch.randn(3, 4, generator=generator), 2).double()
    assert torch.autograd.gradcheck(
        lambda a, b: nn.functional.linear(a @ b, torch.eye(4).double()), (small.left, small.right)
    )
    small(torch.zeros(3, 4)).sum().backward()
    assert small.left.grad is not None and small.right.grad is not None
    for rank in (0, 7):
        with pytest.raises(UserError, match=f"expects 1 to 6 for a layer of 6 x 36 weights, but got {rank}"):
            Factors(weight, rank)
