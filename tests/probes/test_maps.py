"""Agreement of neighborhoods, the decoder's Jacobian, active latents and local PCA against independent answers."""

import pytest
import torch
from sklearn import manifold

from lightning_pz.autoencoder.decoders import Decoder
from lightning_pz.common.errors import UserError
from lightning_pz.policy import Layout, act_shared
from lightning_pz.probes import decoder as probes_decoder
from lightning_pz.probes import jacobian
from lightning_pz.probes.agreement import neighbor_ranks, rank_agreement
from lightning_pz.probes.dimension import local_pca
from lightning_pz.probes.estimate import ProbeEstimate
from lightning_pz.probes.neighbors import neighbor_table


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


@pytest.mark.parametrize("neighbors", [1, 5, 24])
def test_agreement_equals_scikit_learn(neighbors):
    original = randn(50, 6)
    embedded = original[:, :2] + 0.3 * randn(50, 2, seed=1)
    ours = rank_agreement(neighbor_ranks(original), neighbor_ranks(embedded), neighbors)
    one, other = original.numpy(), embedded.numpy()
    assert ours["trustworthiness"].value == pytest.approx(manifold.trustworthiness(one, other, n_neighbors=neighbors))
    assert ours["continuity"].value == pytest.approx(manifold.trustworthiness(other, one, n_neighbors=neighbors))
    assert 0 < ours["continuity"].standard_error < 0.1


def test_agreement_refuses_too_many_neighbors():
    with pytest.raises(UserError, match="of 20 points expects 1 to 9 neighbors, but got 10"):
        rank_agreement(neighbor_ranks(randn(20, 3)), neighbor_ranks(randn(20, 2)), 10)


@pytest.fixture(scope="module")
def decoder():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Decoder(4, torch.ones(Layout(3, (5,), 2).num_params), (16,)).double().eval()


def test_grams_are_those_of_finite_differences(decoder):
    layout, states, latents, step = Layout(3, (5,), 2), randn(7, 3), randn(6, 4, seed=2), 1e-6

    def outputs(latent):
        params = decoder.network(latent[None]) * decoder.prior_std
        return params, act_shared(layout, params, states)

    decoder.requires_grad_(False)
    grams = jacobian.jacobian_grams(outputs, latents)
    for which, gram in enumerate(grams):
        columns = [
            torch.stack([(outputs(z + step * unit)[which] - outputs(z - step * unit)[which]).flatten() / (2 * step) for unit in torch.eye(4).double()], 1)
            for z in latents
        ]  # fmt: skip
        expected = torch.stack([(c.T @ c) / len(c) for c in columns])
        assert torch.allclose(gram, expected, rtol=1e-5, atol=1e-9)
    largest = torch.stack([torch.linalg.svdvals(c)[0] / len(c) ** 0.5 for c in columns])
    assert jacobian.lipschitz(grams[1]).value == pytest.approx(float(largest.mean()), rel=1e-5)
    assert jacobian.largest_lipschitz(grams[1]).value == pytest.approx(float(largest.max()), rel=1e-5)


def test_rank_of_a_linear_decoder_and_its_whitening():
    matrix = torch.diag(torch.tensor([3.0, 3.0, 0.0], dtype=torch.double))
    (gram,) = jacobian.jacobian_grams(lambda z: (matrix @ z,), randn(5, 3))
    assert jacobian.jacobian_rank(gram).value == pytest.approx(2)
    assert jacobian.jacobian_rank(gram).standard_error == pytest.approx(0, abs=1e-9)
    assert jacobian.lipschitz(gram).value == pytest.approx(3 / 3**0.5)
    # In standard deviations of the latents the second direction is a hundred times shorter.
    whitened = jacobian.whiten_grams(gram, torch.diag(torch.tensor([4.0, 4e-4, 1.0])))
    assert jacobian.jacobian_rank(whitened).value == pytest.approx(1, abs=1e-3)
    assert jacobian.lipschitz(whitened).value == pytest.approx(6 / 3**0.5)


def test_a_decoder_that_ignores_its_latent_has_no_rank():
    (gram,) = jacobian.jacobian_grams(lambda z: (0 * z,), randn(5, 3))
    assert jacobian.jacobian_rank(gram).value != jacobian.jacobian_rank(gram).value
    with pytest.raises(UserError, match="heeds its latent"):
        jacobian.step_scale(jacobian.lipschitz(gram), 0.1)


def test_a_step_of_the_scale_changes_behavior_by_no_more(decoder):
    layout, states = Layout(3, (5,), 2), randn(40, 3)
    latents = randn(20, 4, seed=5)

    def act(latent):
        return act_shared(layout, decoder.network(latent[None]), states)

    (gram,) = jacobian.jacobian_grams(lambda z: (act(z),), latents)
    step = jacobian.step_scale(jacobian.largest_lipschitz(gram), 1e-3)
    direction = torch.nn.functional.normalize(randn(20, 4, seed=6), dim=1)
    with torch.no_grad():
        changes = torch.stack(
            [(act(z + step * u) - act(z)).square().mean().sqrt() for z, u in zip(latents, direction, strict=True)]
        )
    assert 1e-5 < float(changes.max()) <= 1e-3 * 1.01


@pytest.mark.parametrize("change", [0.0, -1.0, float("nan")])
def test_a_step_scale_expects_a_change(change):
    with pytest.raises(UserError, match="change of behavior above 0"):
        jacobian.step_scale(ProbeEstimate(2.0), change)


def test_active_latents_by_divergence():
    divergences = (
        torch.zeros(100, 6) + torch.tensor([2.0, 2.0, 2.0, 0.0, 0.0, 0.001]) + 0.0005 * randn(100, 6).float().abs()
    )
    found = probes_decoder.active_by_divergence(divergences)
    assert found.value == 3 and found.standard_error == pytest.approx(0, abs=1e-6)
    assert probes_decoder.divergence_rank(divergences) == pytest.approx(3, abs=0.1)
    assert probes_decoder.divergence_rank(torch.zeros(3, 2)) != probes_decoder.divergence_rank(torch.zeros(3, 2))
    # A latent on the threshold may lie on either side of it.
    close = torch.full((100, 1), probes_decoder.ACTIVE_NATS) + 0.01 * (randn(100, 1) - randn(100, 1).mean()).float()
    assert probes_decoder.active_by_divergence(close).standard_error == pytest.approx(0.5, abs=0.05)
    with pytest.raises(UserError, match="finite divergences"):
        probes_decoder.active_by_divergence(torch.full((3, 2), torch.nan))


def test_active_latents_by_singular_values():
    weight = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    covariance = torch.diag(torch.tensor([1.0, 9.0, 0.0]))
    values = probes_decoder.decoder_singular_values(weight, covariance)
    assert torch.allclose(values, torch.tensor([3.0, 2.0, 0.0], dtype=torch.double), atol=1e-9)
    assert probes_decoder.active_by_singular_values(values).value == 2
    assert probes_decoder.decoder_singular_values(weight[:1], covariance).tolist() == pytest.approx([2.0, 0.0, 0.0])


def test_local_pca_of_a_curved_sheet_and_its_limits():
    angles = torch.rand(2000, 2, generator=torch.Generator().manual_seed(0)) * 6.283
    torus = torch.stack([f(angles[:, i]) for i in (0, 1) for f in (torch.sin, torch.cos)], 1)
    table = neighbor_table(torus, 40)
    found = local_pca(torus, table, neighbors=40)
    assert found.value == pytest.approx(2, abs=0.05)
    with pytest.raises(UserError, match=r"local PCA expects 1 to 40 neighbors.*but got 41"):
        local_pca(torus, table, neighbors=41)
    with pytest.raises(UserError, match="threshold between 0 and 1"):
        local_pca(torus, table, neighbors=40, threshold=0.0)
