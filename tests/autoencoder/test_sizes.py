"""Several sizes of policy from one latent, and that a checkpoint of one size stays what it was."""

import copy

import pytest
import torch

from lightning_pz.autoencoder.module import BehaviorAutoencoder
from lightning_pz.common.errors import UserError
from lightning_pz.policy import Layout, Prior, draw_params
from tests.autoencoder.test_module import LAYOUT, description

WIDE = Layout(3, (12, 4), 2, "relu")
OTHER = {
    "policy": "wide", "layout": WIDE.to_dict(), "prior": {"initializer": "uniform", "gain": 1.0, "bias_scale": 0.0},
    "observation_mean": [1.0, 1.0, -2.0], "observation_std": [0.5, 4.0, 1.0], "pool": None,
}  # fmt: skip


def make(*others, **settings):
    torch.manual_seed(0)
    plain = description() | ({"others": list(others)} if others else {})
    return BehaviorAutoencoder(
        latent_dim=3, encoder_widths=[16], decoder_widths=[16, 8], description=plain, **settings
    ).eval()


def test_one_size_has_the_names_and_settings_that_it_always_had():
    model = make()
    networks = [
        f"{net}.network.{i}.{kind}" for net in ("encoder", "decoder") for i in (0, 1, 3) for kind in ("weight", "bias")
    ]
    networks = [name for name in networks if name in model.state_dict()]
    assert set(model.state_dict()) == {
        *networks, "decoder.network.4.weight", "decoder.network.4.bias", "decoder.network.6.weight",
        "decoder.network.6.bias", "decoder.prior_std", "policy.observation_mean", "policy.observation_std",
        "policy.action_low", "policy.action_high", "probe_states", "latent_mean", "latent_covariance", "latent_encodings",
    }  # fmt: skip
    assert set(model.hparams) == {
        "latent_dim", "encoder", "loss", "bottleneck", "kl_weight", "encoder_widths", "decoder_widths", "dropout",
        "learning_rate", "weight_decay", "warmup_steps", "description",
    }  # fmt: skip
    assert [size.name for size in model.sizes] == ["tiny"] and model.sizes[0].decoder is model.decoder


def test_further_sizes_leave_the_first_one_as_it_would_be_alone():
    alone, both = make().state_dict(), make(OTHER).state_dict()
    names = [name for name in alone if name != "probe_states"]  # which are drawn anew here
    assert all(torch.equal(alone[name], both[name]) for name in names)
    assert {name.split(".")[0] for name in set(both) - set(alone)} == {"further"}


def test_every_size_acts_by_its_own_statistics_on_states_that_the_first_one_shows():
    model = make(OTHER)
    first, wide = model.sizes
    raw, params = torch.randn(6, 3), draw_params(Prior(), WIDE, 0, range(4))
    low, high = torch.tensor([-1.0, 0.0]), torch.tensor([1.0, 2.0])
    expected = (wide.policy(params, raw.expand(4, 6, 3)) - low) / (high - low) * 2 - 1
    shown = first.policy.standardize(raw)
    torch.testing.assert_close(wide.act(params, shown, first.policy), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(wide.act(params, shown.expand(4, 6, 3), first.policy), expected, atol=1e-5, rtol=1e-5)
    assert not wide.has_pool and wide.layout == WIDE


def test_policies_of_any_size_are_encoded_by_what_they_do():
    """The latent of a wide policy is that of its actions on the raw probe states, whatever reads them."""
    model = make(OTHER)
    _, wide = model.sizes
    params, probe = draw_params(Prior(), WIDE, 0, range(4)), model.probe_states
    low, high = torch.tensor([-1.0, 0.0]), torch.tensor([1.0, 2.0])
    does = (wide.policy(params, probe.expand(4, *probe.shape)) - low) / (high - low) * 2 - 1
    torch.testing.assert_close(model.encode(params, wide.policy), model.encoder(does), atol=1e-5, rtol=1e-4)
    before = model.encode(params, wide.policy)
    model.use("wide")
    assert torch.equal(model.encode(params), before)
    assert model.layout == WIDE and model.policy is wide.policy and model.decoder is wide.decoder
    assert model.hparams["description"]["observation_std"] == OTHER["observation_std"]
    assert model(params).shape == params.shape
    model.use(None)
    assert model.layout == LAYOUT and model.hparams["description"]["policy"] == "tiny"
    with pytest.raises(UserError, match=r"--policy expects a size .*\(tiny, wide\), but got 'huge'"):
        model.use("huge")


def test_the_last_layer_of_a_further_decoder_stays_small():
    large = OTHER | {"layout": Layout(3, (400, 300), 2).to_dict()}
    model = make(large, OTHER)
    _, big, small = model.sizes
    assert big.decoder.network[-1].in_features == 8  # as asked for
    assert [layer.out_features for layer in small.decoder.network if isinstance(layer, torch.nn.Linear)][:2] == [16, 8]
    torch.manual_seed(0)
    wide = BehaviorAutoencoder(latent_dim=3, decoder_widths=[16, 256], description=description() | {"others": [large]})
    last = wide.sizes[1].decoder.network[-1]
    assert last.weight.numel() <= 1 << 23 and last.in_features == (1 << 23) // Layout(3, (400, 300), 2).num_params


def test_copies_and_moves_take_all_sizes_along():
    model = copy.deepcopy(make(OTHER)).double()
    assert all(p.dtype == torch.float64 for size in model.sizes for p in size.decoder.parameters())
    assert model.sizes[0].decoder is model.decoder and model.sizes[1].decoder is model.further[0].decoder
