"""Encoder, decoder and module: shapes, starting point, latent statistics, gradients through the decoder."""

import pytest
import torch

from lightning_pz.autoencoder.decoders import Decoder
from lightning_pz.autoencoder.encoders import BehaviorEncoder, ParametersEncoder, mlp
from lightning_pz.autoencoder.module import BehaviorAutoencoder
from lightning_pz.common.errors import UserError
from lightning_pz.policy import Layout, Prior, act_shared, draw_params, prior_scale

LAYOUT = Layout(3, (6, 5), 2)


def description(probe=4):
    return {
        "env": {"id": "X-v0", "action_low": [-1.0, 0.0], "action_high": [1.0, 2.0]},
        "env_name": "x",
        "policy": "tiny",
        "layout": LAYOUT.to_dict(),
        "prior": {"initializer": "fan_in_normal", "gain": 1.0, "bias_scale": 1.0},
        "observation_mean": [0.0, 1.0, 2.0],
        "observation_std": [1.0, 2.0, 3.0],
        "probe_states": torch.randn(probe, 3).tolist(),
        "action_variance": 0.2,
    }


def test_mlp_has_the_widths_asked_for():
    shapes = [tuple(layer.weight.shape) for layer in mlp([7, 5, 4, 2]) if isinstance(layer, torch.nn.Linear)]
    assert shapes == [(5, 7), (4, 5), (2, 4)]
    assert [tuple(layer.weight.shape) for layer in mlp([7, 2])] == [(2, 7)]


def test_shapes():
    scale = prior_scale(Prior(), LAYOUT)
    params = draw_params(Prior(), LAYOUT, 0, range(9))
    fingerprints = act_shared(LAYOUT, params, torch.randn(4, 3))
    assert BehaviorEncoder(8, 3, [16])(fingerprints).shape == (9, 3)
    latents = ParametersEncoder(scale, 3, [16])(params)
    assert latents.shape == (9, 3)
    assert Decoder(3, scale, [16])(latents).shape == params.shape


def test_decoder_starts_at_the_priors_scale_with_units_apart():
    """Equal hidden units would get equal gradients and stay equal."""
    torch.manual_seed(0)
    layout = Layout(8, (60, 60), 4)
    scale = prior_scale(Prior(), layout)
    decoded = Decoder(4, scale, [32])(torch.randn(50, 4))
    assert float((decoded / scale).detach().std()) == pytest.approx(1, rel=0.1)
    first_weight, _ = layout.unpack(decoded)[0]
    assert torch.linalg.matrix_rank(first_weight).min() == 8


def test_parameters_fixed_by_the_prior_stay_fixed():
    scale = prior_scale(Prior(bias_scale=0.0), LAYOUT)
    decoded = Decoder(3, scale, [16])(torch.randn(5, 3))
    for _, bias in LAYOUT.unpack(decoded):
        assert not bias.any()
    assert torch.isfinite(ParametersEncoder(scale, 3, [16])(decoded)).all()


def test_a_policy_can_be_encoded_by_its_weights_alone():
    model = BehaviorAutoencoder(latent_dim=3, encoder_widths=[16], decoder_widths=[16], description=description())
    params = draw_params(Prior(), LAYOUT, 0, range(5))
    standardized = (model.probe_states - torch.tensor([0.0, 1.0, 2.0])) / torch.tensor([1.0, 2.0, 3.0])
    expected = model.encoder(act_shared(LAYOUT, params, standardized))
    torch.testing.assert_close(model.encode(params), expected)
    assert model(params).shape == params.shape


def test_gradient_flows_through_the_decoder_to_the_latent():
    scale = prior_scale(Prior(), LAYOUT)
    decoder = Decoder(3, scale, [16]).double()
    latents = torch.randn(2, 3, dtype=torch.double, requires_grad=True)
    states = torch.randn(2, 3, dtype=torch.double)
    assert torch.autograd.gradcheck(lambda z: act_shared(LAYOUT, decoder(z), states), latents)


@pytest.mark.parametrize("latent_dim", [0, 9])
def test_latent_sizes_outside_the_fingerprint_are_refused(latent_dim):
    with pytest.raises(UserError, match=f"but got {latent_dim}"):
        BehaviorAutoencoder(latent_dim=latent_dim, description=description())


def test_behavior_encoder_serves_policies_of_every_size():
    """It sees actions on probe states alone, so one encoder reads small and large policies."""
    states, encoder = torch.randn(4, 3), BehaviorEncoder(8, 2, [16])
    for hidden in ((2,), (40, 30)):
        layout = Layout(3, hidden, 2)
        assert encoder(act_shared(layout, draw_params(Prior(), layout, 0, range(3)), states)).shape == (3, 2)
