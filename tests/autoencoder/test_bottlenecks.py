"""Bottlenecks against closed forms, and what a fit with each of them leaves behind."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_pz.autoencoder.bottlenecks import Nested, Plain, Variational
from lightning_pz.autoencoder.load import load_autoencoder
from lightning_pz.autoencoder.losses import fvu
from lightning_pz.autoencoder.module import BehaviorAutoencoder
from lightning_pz.common.errors import UserError
from lightning_pz.fit import main
from lightning_pz.policy import act_shared
from lightning_pz.pool.batches import split_rows
from lightning_pz.pool.store import read_pool
from lightning_pz.search.spaces import latent_space
from tests.conftest import TINY_FIT
from tests.killed import killed_in_step


def generator():
    return torch.Generator().manual_seed(0)


def test_nested_dropout_keeps_prefixes_of_every_length_equally_often():
    kept = Nested(4).sample(torch.ones(20_000, 4), generator())
    lengths = kept.sum(1).long()
    assert torch.equal(kept, (torch.arange(4) < lengths[:, None]).float())
    counts = torch.bincount(lengths, minlength=5)[1:]
    assert ((counts - 5000) ** 2 / 5000).sum() < 16.3  # chi-square, 3 degrees of freedom, p = 0.001


def test_prefix_sizes_rise_to_k():
    assert Nested(1).prefixes() == Nested(1).prefixes(dense=True) == [1]
    assert Nested(20).prefixes() == [1, 2, 3, 4, 6, 8, 12, 16, 20]
    for k in (2, 7, 16, 40, 64):
        dense = Nested(k).prefixes(dense=True)
        assert dense[:16] == list(range(1, min(k, 16) + 1)) and dense[-1] == k and sorted(set(dense)) == dense
        assert set(Nested(k).prefixes()) <= set(dense)


def test_kl_is_that_of_torch_distributions():
    bottleneck, code = Variational(3, 0.5), torch.randn(6, 6, generator=generator())
    posterior = torch.distributions.Normal(code[:, :3], (code[:, 3:] / 2).exp())
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0))
    torch.testing.assert_close(bottleneck.kl(code), expected)
    torch.testing.assert_close(bottleneck.penalty(code), 0.5 * expected.sum(1).mean())


def test_posterior_samples_have_the_posteriors_moments():
    code = torch.tensor([[1.0, -2.0, float(np.log(4.0)), float(np.log(0.25))]]).expand(50_000, 4)
    samples = Variational(2, 1.0).sample(code, generator())
    torch.testing.assert_close(samples.mean(0), torch.tensor([1.0, -2.0]), atol=0.03, rtol=0)
    torch.testing.assert_close(samples.std(0), torch.tensor([2.0, 0.5]), atol=0.03, rtol=0)
    assert torch.equal(Variational(2, 1.0).center(code), code[:, :2])


def test_plain_changes_nothing():
    code = torch.randn(5, 3)
    plain = Plain(3)
    assert plain.sample(code, None) is plain.center(code) is code
    assert plain.penalty(code) is None and not list(plain.parameters()) and not plain.state_dict()


@pytest.fixture(scope="module")
def logs(fitted):
    return Path(fitted.folder).parents[2]  # the pool is there already


def run(logs, *arguments):
    return main(["--env", "mountaincar", *TINY_FIT, "--model.latent_dim", "3", "--logs", str(logs), *arguments])


@pytest.fixture(scope="module")
def fits(logs):
    return {name: run(logs, "--model.bottleneck", name) for name in ("plain", "nested", "variational")}


def npz(result):
    with np.load(result.folder / "policy_errors.npz") as file:
        return dict(file)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "nested", "variational"])
def test_policy_errors_add_up_to_the_test_fvu(fits, name):
    errors, summary = npz(fits[name]), fits[name].summary
    pool = read_pool(Path(summary["pool"]))
    assert errors["latent_dims"].tolist() == ([1, 2, 3] if name == "nested" else [3])
    assert np.array_equal(errors["rows"], split_rows(pool, 0.05, 0.05, 0)["test"])
    assert errors["error"].shape == (len(errors["latent_dims"]), len(errors["rows"]))
    assert errors["error"].dtype == errors["spread"].dtype == np.float64
    assert errors["error"][-1].sum() / errors["spread"].sum() == pytest.approx(summary["test_fvu"], rel=1e-6)


def test_errors_of_each_prefix_are_what_the_checkpoint_does(fits):
    """By hand from pool and checkpoint, policy by policy."""
    errors = npz(fits["nested"])
    model, pool = (
        load_autoencoder(fits["nested"].summary["checkpoint"]),
        read_pool(Path(fits["nested"].summary["pool"])),
    )
    own, states = (
        pool.params(errors["rows"]),
        pool.network.standardize(torch.from_numpy(pool.arrays["states"][52:64].copy())),
    )
    truth = act_shared(pool.layout, own, states)
    with torch.no_grad():
        for place, size in enumerate(errors["latent_dims"]):
            latents = model.encode(own)
            latents[:, size:] = 0
            rebuilt = act_shared(pool.layout, model.decoder(latents), states)
            expected = (rebuilt - truth).double().square().sum((1, 2)).numpy()
            np.testing.assert_allclose(errors["error"][place], expected, rtol=0.02, atol=1e-4)  # the table is float16
            share = errors["error"][place].sum() / errors["spread"].sum()
            assert share == pytest.approx(fvu(rebuilt, truth), rel=5e-3)
            assert fits["nested"].summary[f"test_fvu_k{size}"] == pytest.approx(share)


def scalars(result):
    found = {}
    for path in result.folder.glob("events.*"):
        events = EventAccumulator(str(path)).Reload()
        found |= {tag: events.Scalars(tag)[-1].value for tag in events.Tags()["scalars"]}
    return found


def test_prefixes_and_kl_spectrum_are_logged(fits):
    nested, variational = scalars(fits["nested"]), scalars(fits["variational"])
    assert nested.keys() >= {"val_fvu_k/1", "val_fvu_k/2", "val_fvu_k/3"}
    assert nested["val_fvu_k/3"] == pytest.approx(nested["val_fvu"], rel=1e-6)  # few enough that all are measured
    spectrum = [variational[f"val_kl_latent/{i}"] for i in (1, 2, 3)]
    assert sum(spectrum) == pytest.approx(variational["val_kl"], rel=1e-5) and min(spectrum) >= 0
    assert npz(fits["variational"])["kl"].sum() == pytest.approx(fits["variational"].summary["test_kl"])
    assert (fits["nested"].folder / "figures" / "prefixes.png").is_file()
    assert not [key for key in fits["plain"].summary if "_k" in key or key == "bottleneck"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nested", "variational"])
def test_resumed_equals_straight(fits, logs, name):
    chosen = ["--model.bottleneck", name]
    with killed_in_step(25):
        run(logs, *chosen, "--run_name", f"killed-{name}")
    last = logs / "fit" / "mountaincar" / f"killed-{name}" / "checkpoints" / "last.ckpt"
    resumed = run(logs, *chosen, "--ckpt_path", str(last))
    straight, other = (
        torch.load(r.folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for r in (fits[name], resumed)
    )
    assert all(torch.equal(value, other[key]) for key, value in straight.items())


@pytest.mark.parametrize("name", ["nested", "variational"])
def test_a_search_walks_through_any_bottleneck(fits, name):
    model = load_autoencoder(fits[name].summary["checkpoint"])
    space = latent_space(model.decoder, model.latents("density"))
    assert space.decode(space.draw(4, 0)).shape == (4, model.layout.num_params)
    assert model.encode(torch.randn(2, model.layout.num_params)).shape == (2, 3)


def test_a_high_kl_weight_silences_the_latents(fits, logs):
    """With KL at 1000 times FVU the posterior falls back to the prior; summaries carry the sum in nats."""
    heavy = run(logs, "--model.bottleneck", "variational", "--model.kl_weight", "1000", "--model.learning_rate", "0.01")
    assert heavy.summary["test_kl"] < 0.2 * fits["variational"].summary["test_kl"]


def test_checkpoints_from_before_there_were_bottlenecks_load(fitted, tmp_path):
    kept = torch.load(fitted.summary["checkpoint"], weights_only=True)
    for key in ("bottleneck", "kl_weight"):
        del kept["hyper_parameters"][key]
    torch.save(kept, tmp_path / "old.ckpt")
    old, new = load_autoencoder(tmp_path / "old.ckpt"), load_autoencoder(fitted.summary["checkpoint"])
    params = torch.randn(3, new.layout.num_params)
    assert torch.equal(old(params), new(params))


def test_a_negative_weight_is_refused():
    with pytest.raises(UserError, match=r"--model\.kl_weight expects"):
        BehaviorAutoencoder(kl_weight=-1.0)


def test_summary_is_json(fits):
    for result in fits.values():
        assert json.loads((result.folder / "summary.json").read_text()) == result.summary
