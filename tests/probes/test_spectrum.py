"""Spectral measures against closed forms, their errors against the jackknife, the surrogate against the original."""

import math

import pytest
import torch

from lightning_pz.common.errors import UserError
from lightning_pz.probes.spectrum import components_for, entropy_rank, gaussian_surrogate, participation_ratio, spectrum

MEASURES = {
    "participation_ratio": participation_ratio,
    "entropy_rank": entropy_rank,
    "n90": lambda found: components_for(found, 0.9),
}


@pytest.fixture(scope="module")
def points():
    scale = torch.tensor([3.0, 2.0, 1.0, 0.5, 0.2])
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(500, 5, generator=generator) * scale) @ torch.linalg.qr(
        torch.randn(9, 5, generator=generator)
    ).Q.T


def cross(variances):
    """Points on the axes with exactly these principal variances."""
    scale = torch.tensor(variances, dtype=torch.double).sqrt().diag() * math.sqrt(len(variances))
    return torch.cat([scale, -scale])


def test_known_spectra():
    equal = spectrum(cross([2.0] * 7))
    assert participation_ratio(equal).value == pytest.approx(7) and entropy_rank(equal).value == pytest.approx(7)
    unequal = spectrum(cross([8.0, 1.0, 1.0]))
    assert torch.allclose(unequal.eigenvalues, torch.tensor([8.0, 1.0, 1.0], dtype=torch.double))
    assert participation_ratio(unequal).value == pytest.approx(100 / 66)
    entropy = -0.8 * math.log(0.8) - 0.2 * math.log(0.1)
    assert entropy_rank(unequal).value == pytest.approx(math.exp(entropy))
    assert [components_for(unequal, share).value for share in (0.79, 0.8, 0.81, 0.9, 0.91)] == [1, 1, 2, 2, 3]


@pytest.mark.parametrize("name", ["participation_ratio", "entropy_rank"])
def test_standard_errors_are_those_of_the_jackknife(points, name):
    probe = MEASURES[name]
    left_out = torch.tensor([
        probe(spectrum(torch.cat([points[:i], points[i + 1 :]]))).value for i in range(len(points))
    ], dtype=torch.double)  # fmt: skip
    count = len(points)
    jackknife = math.sqrt((count - 1) / count * float((left_out - left_out.mean()).square().sum()))
    assert probe(spectrum(points)).standard_error == pytest.approx(jackknife, rel=0.03)


def test_the_error_of_a_count_is_that_of_the_interpolated_count(points):
    def interpolated(found, share=0.9):
        shares = found.eigenvalues / found.eigenvalues.sum()
        held = shares.cumsum(0)
        below = int((held < share).sum())
        return below + float((share - (held[below] - shares[below])) / shares[below])

    left_out = torch.tensor([
        interpolated(spectrum(torch.cat([points[:i], points[i + 1 :]]))) for i in range(len(points))
    ], dtype=torch.double)  # fmt: skip
    jackknife = math.sqrt((len(points) - 1) / len(points) * float((left_out - left_out.mean()).square().sum()))
    assert components_for(spectrum(points), 0.9).standard_error == pytest.approx(jackknife, rel=0.03)


@pytest.mark.parametrize("shape", [(300, 5), (40, 90)])
def test_a_surrogate_has_the_same_spectrum_and_repeats(shape):
    points = torch.randn(*shape, generator=torch.Generator().manual_seed(1)) * torch.linspace(2, 0.1, shape[1])
    found = spectrum(points.exp())
    surrogate = gaussian_surrogate(found, 5)
    assert torch.allclose(spectrum(surrogate).eigenvalues, found.eigenvalues, rtol=1e-8)
    assert torch.equal(surrogate, gaussian_surrogate(found, 5))
    assert not torch.allclose(surrogate, gaussian_surrogate(found, 6))


def test_a_surrogate_is_gaussian_where_the_points_are_not():
    found = spectrum(torch.rand(4000, 1, generator=torch.Generator().manual_seed(0)))
    surrogate = gaussian_surrogate(found, 0)
    kurtosis = surrogate.pow(4).mean() / surrogate.square().mean() ** 2
    assert kurtosis == pytest.approx(3, abs=0.3)
    assert found.scores.pow(4).mean() / found.scores.square().mean() ** 2 == pytest.approx(1.8, abs=0.05)


@pytest.mark.parametrize(
    "points, sentence",
    [
        (torch.ones(9, 3), "all 9 are equal"),
        (torch.ones(1, 3), "at least 2 distinct points, but got 1"),
        (torch.full((4, 2), torch.inf), "4 of 4 points have others"),
    ],
)
def test_bad_input(points, sentence):
    with pytest.raises(UserError, match=sentence):
        spectrum(points)


@pytest.mark.parametrize("share", [0.0, 1.0, float("nan")])
def test_a_share_outside_its_range(points, share):
    with pytest.raises(UserError, match="share of variance must lie between 0 and 1"):
        components_for(spectrum(points), share)
