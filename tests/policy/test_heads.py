"""Behavior features of every head against closed forms, sampling and finite differences."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_pz.common.errors import UserError
from lightning_pz.policy import Head, Layout

GENERATOR = torch.Generator().manual_seed(0)
GAUSSIAN, CHOICES = Head("gaussian", initial_std=0.4), Head("categorical", (3, 2), temperature=0.7)


def outputs(head: Head, rows: int = 6) -> torch.Tensor:
    return 2 * torch.randn(rows, head.output_size(2), generator=GENERATOR, dtype=torch.double)


def squared_distance(head: Head, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (head.features(a) - head.features(b)).square().sum(-1)


def test_gaussian_distance_is_the_wasserstein_distance_of_matrices() -> None:
    a, b = outputs(GAUSSIAN), outputs(GAUSSIAN)
    for x, y, found in zip(a, b, squared_distance(GAUSSIAN, a, b), strict=True):
        (m, s), (n, t) = ((f[:2], torch.diag(f[2:]).square()) for f in (GAUSSIAN.features(x), GAUSSIAN.features(y)))
        # The general form for covariances S and T (Olkin and Pukelsheim): tr S + tr T - 2 tr (S^1/2 T S^1/2)^1/2.
        root = s.sqrt()
        values = torch.linalg.eigvalsh(root @ t @ root).clamp_min(0).sqrt()
        expected = (m - n).square().sum() + s.trace() + t.trace() - 2 * values.sum()
        torch.testing.assert_close(found, expected)


def test_gaussian_distance_agrees_with_optimal_transport_of_samples() -> None:
    a, b = outputs(GAUSSIAN, 1), outputs(GAUSSIAN, 1)
    # Per coordinate, for the optimal plan between diagonal Gaussians is a product: sorted samples are matched.
    sums = 0.0
    for coordinate in range(2):
        drawn = []
        for point in (a, b):
            mean, std = GAUSSIAN.features(point).chunk(2, -1)
            noise = torch.randn(400_000, generator=GENERATOR, dtype=torch.double)
            drawn.append((mean[0, coordinate] + std[0, coordinate] * noise).sort().values)
        sums += float((drawn[0] - drawn[1]).square().mean())
    assert sums == pytest.approx(float(squared_distance(GAUSSIAN, a, b)), rel=0.02)


def test_categorical_distance_is_twice_the_squared_hellinger_distance() -> None:
    a, b = outputs(CHOICES), outputs(CHOICES)
    expected = torch.zeros(6, dtype=torch.double)
    for part in (slice(0, 3), slice(3, 5)):
        p, q = (torch.softmax(x[:, part] / 0.7, -1) for x in (a, b))
        expected += 2 * (1 - (p * q).sqrt().sum(-1))
    torch.testing.assert_close(squared_distance(CHOICES, a, b), expected)


def test_categorical_distance_agrees_with_drawn_choices() -> None:
    head = Head("categorical", (4,))
    a, b = (torch.randn(1, 4, generator=GENERATOR, dtype=torch.double) for _ in "ab")
    p, q = (torch.softmax(x, -1)[0] for x in (a, b))
    # H^2 = 1 - E_p sqrt(q / p), a mean over draws of p.
    drawn = torch.multinomial(p, 400_000, replacement=True, generator=GENERATOR)
    assert 2 * float(1 - (q / p)[drawn].sqrt().mean()) == pytest.approx(float(squared_distance(head, a, b)), abs=0.005)


@pytest.mark.parametrize("head", [GAUSSIAN, CHOICES], ids=["gaussian", "categorical"])
def test_gradient_of_the_likelihood_is_that_of_finite_differences(head: Head) -> None:
    actions = torch.tensor([[0.3, -0.8]], dtype=torch.double) if head is GAUSSIAN else torch.tensor([[2, 1]])
    for x in outputs(head):
        assert torch.autograd.gradcheck(lambda z: head.log_prob(z[None], actions), x.requires_grad_())


def test_probabilities_of_all_choices_sum_to_one_and_features_have_a_finite_gradient() -> None:
    x = outputs(CHOICES, 1)
    every = torch.cartesian_prod(torch.arange(3), torch.arange(2))
    assert float(CHOICES.log_prob(x.expand(6, -1), every).exp().sum()) == pytest.approx(1)
    # Where a probability is 0 in double precision, its root has no derivative that is infinite.
    far = torch.tensor([[0.0, -4000.0, 0.0, 0.0, 0.0]], dtype=torch.double, requires_grad=True)
    CHOICES.features(far).sum().backward()
    assert torch.isfinite(far.grad).all()


def test_density_of_the_gaussian_and_entropies_are_those_of_torch() -> None:
    x, actions = outputs(GAUSSIAN), torch.randn(6, 2, generator=GENERATOR, dtype=torch.double)
    mean, std = GAUSSIAN.features(x).chunk(2, -1)
    known = torch.distributions.Normal(mean, std)
    torch.testing.assert_close(GAUSSIAN.log_prob(x, actions), known.log_prob(actions).sum(-1))
    torch.testing.assert_close(GAUSSIAN.entropy(GAUSSIAN.features(x)), known.entropy().sum(-1))
    y = outputs(CHOICES)
    parts = [torch.distributions.Categorical(logits=part / 0.7) for part in y.split([3, 2], -1)]
    torch.testing.assert_close(CHOICES.entropy(CHOICES.features(y)), sum(part.entropy() for part in parts))


def test_standard_deviations_begin_where_asked_and_are_bounded() -> None:
    ends = torch.tensor([[0.0, 0.0, 0.0, 1e9], [0.0, 0.0, -1e9, 0.0]])
    std = GAUSSIAN.features(ends)[:, 2:]
    torch.testing.assert_close(std, torch.tensor([[0.4, 0.8], [0.0, 0.4]]))


def test_layouts_count_the_last_layer_and_come_back_from_plain_data() -> None:
    for head, size in ((Head(), 2), (GAUSSIAN, 4), (CHOICES, 5), (Head("gaussian", sample=True), 4)):
        layout = Layout(3, (8,), 2, head=head)
        assert layout.feature_size == size
        assert layout.num_params == 3 * 8 + 8 + 8 * size + size
        assert Layout.from_dict(layout.to_dict()) == layout
    assert "head" not in Layout(3, (8,), 2).to_dict(), "digests of pools from before heads stay what they are"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"kind": "categorical", "choices": (2,), "temperature": 0.0}, "--policy.temperature expects a positive"),
        ({"kind": "gaussian", "initial_std": math.nan}, "--policy.initial_std expects a positive"),
        ({"sample": True}, "a tanh head gives one action"),
    ],
)
def test_wrong_settings_are_refused_in_a_sentence(wrong: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        Head(**wrong)


@pytest.mark.parametrize(
    "wrong", [{"kind": "categorical"}, {"choices": (2,)}, {"kind": "categorical", "choices": (1,)}]
)
def test_choices_have_to_go_with_the_kind(wrong: dict) -> None:
    with pytest.raises(ValueError, match="cannot have the choices"):
        Head(**wrong)
