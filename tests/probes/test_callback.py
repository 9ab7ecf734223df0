"""The probe callback in a real fit: what it writes, that it changes nothing, and what it says when it cannot measure."""

import json
import math

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_pz.autoencoder.load import load_autoencoder
from lightning_pz.common.errors import UserError
from lightning_pz.fit import main
from lightning_pz.pool.store import read_pool
from lightning_pz.probes.callback import ProbeCallback
from lightning_pz.probes.decoder import agreement_probes, rank_behaviors
from lightning_pz.probes.dimension import two_nn
from lightning_pz.probes.measure import measure_space
from lightning_pz.probes.neighbors import neighbor_table
from sweeps.__main__ import main as sweeps

TINY = [
    "--env", "mountaincar", "--policy", "small", "--model.latent_dim", "2", "--model.encoder_widths", "[16]",
    "--model.decoder_widths", "[16]", "--data.random.candidates", "700", "--data.random.neighbors", "5",
    "--data.batch_size", "32", "--data.random.states", "{probe: 16, train: 24, val: 12, test: 12}",
    "--data.states_per_step", "8", "--data.steps_per_epoch", "10", "--trainer.max_steps", "30",
    "--trainer.log_every_n_steps", "5", "--data.val_share", "0.4", "--model.dropout", "0.2",
]  # fmt: skip


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="module")
def done(logs):
    return main([*TINY, "--logs", str(logs), "--probes.every", "1"])


def report_of(result):
    return json.loads((result.folder / "probes.json").read_text())


def test_the_file_holds_every_estimate_with_its_error_its_surrogate_and_the_prior(done):
    report = report_of(done)
    assert report["prior"] == {"initializer": "fan_in_normal", "gain": 1.0, "bias_scale": 1.0}
    assert report["latent_dim"] == 2 and report["policies"] == 252 and report["env"] == "MountainCarContinuous-v0"
    names = {"participation_ratio", "entropy_rank", "n90", "n95", "n99", "two_nn", "levina_bickel", "local_pca"}
    names |= {f"gride_{2**i}" for i in range(6)}
    for space, features in (("behavior", 16), ("latent", 2)):
        assert report[space]["features"] == features and report[space]["estimates"].keys() == names
        assert report[space]["points"] + report[space]["duplicates_dropped"] == 252
        for found in report[space]["estimates"].values():
            assert all(
                math.isfinite(found[key])
                for key in ("value", "standard_error", "surrogate", "surrogate_standard_error")
            )
    assert set(report["map"]["estimates"]) == {
        "jacobian_rank_params", "jacobian_rank_actions", "lipschitz", "lipschitz_largest", "trustworthiness", "continuity",
        "active_singular_values",
    }  # fmt: skip
    assert 1 <= report["map"]["estimates"]["jacobian_rank_actions"]["value"] <= 2


def test_estimates_are_those_of_the_held_out_policies_and_the_chosen_checkpoint(done):
    report, pool = report_of(done), read_pool(done.folder.parents[2] / "pools" / done.summary["pool"].split("/")[-1])
    order = np.random.default_rng(0).permutation(len(pool))
    rows = order[len(pool) - 252 - 32 : len(pool) - 32]
    fingerprints = torch.from_numpy(pool.arrays["fingerprints"][rows])
    behavior = two_nn(neighbor_table(fingerprints.flatten(1), 2))
    with torch.no_grad():
        latents = load_autoencoder(done.summary["checkpoint"]).encoder(fingerprints)
    for space, points in (("behavior", fingerprints.flatten(1)), ("latent", latents)):
        assert report[space]["duplicates_dropped"] == 0
        expected = two_nn(neighbor_table(points, 2))
        assert report[space]["estimates"]["two_nn"]["value"] == pytest.approx(expected.value, rel=1e-4)
    assert behavior.value > 0


def test_curves_are_logged_at_each_validation(done):
    steps: dict[str, list[int]] = {}
    for path in done.folder.glob("events.*"):
        events = EventAccumulator(str(path)).Reload()
        for tag in events.Tags()["scalars"]:
            steps.setdefault(tag, []).extend(event.step for event in events.Scalars(tag))
    for tag in ("probes/latent/two_nn", "probes/latent/gride_8", "probes/map/lipschitz", "probes/map/trustworthiness"):
        assert steps[tag] == steps["val_fvu"] == [9, 19, 29]
    assert steps["probes/behavior/two_nn"] == [9]


@pytest.mark.slow
def test_training_is_the_same_without_it_and_the_same_again_with_it(logs, done):
    without = main([*TINY, "--logs", str(logs), "--probes.enabled", "false"])
    again = main([*TINY, "--logs", str(logs), "--probes.every", "2"])
    states = [
        torch.load(r.folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for r in (done, without, again)
    ]
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key]) and torch.equal(value, states[2][key])
    assert not (without.folder / "probes.json").exists()
    assert report_of(again) == report_of(done)
    tags = set()
    for path in without.folder.glob("events.*"):
        tags |= set(EventAccumulator(str(path)).Reload().Tags()["scalars"])
    assert not any(tag.startswith("probes") for tag in tags)


def test_too_few_policies_give_nulls_with_a_reason(logs):
    few = main([*TINY, "--logs", str(logs), "--data.val_share", "0.02", "--trainer.max_steps", "10"])
    report = report_of(few)
    assert report["policies"] == 13
    for name, need in (
        ("levina_bickel", "expects 1 to 12 neighbors"),
        ("gride_32", "64"),
        ("local_pca", "but got 100"),
    ):
        assert report["behavior"]["estimates"][name]["value"] is None
        assert need in report["behavior"]["notes"][name]
    assert report["behavior"]["estimates"]["two_nn"]["value"] > 0
    assert "expects 1 to 6 neighbors" in report["map"]["notes"]["trustworthiness"]


@pytest.mark.parametrize(
    "points, why", [(torch.ones(30, 4), "all 30 are equal"), (torch.full((30, 4), torch.nan), "finite")]
)
def test_points_that_tell_nothing_give_no_number(points, why):
    probe = measure_space(points)
    assert len(probe.estimates) == 14 and all(math.isnan(e.value) for e in probe.estimates.values())
    assert all(why in note for note in probe.notes.values()) and probe.notes.keys() == probe.estimates.keys()
    assert json.loads(json.dumps(probe.plain(), allow_nan=False))["estimates"]["two_nn"]["value"] is None
    ranks, rows = rank_behaviors(points)
    found, notes = agreement_probes(ranks, torch.randn(30, 2)[rows])
    assert math.isnan(found["continuity"].value) and "could not be ranked" in notes["continuity"]


def test_duplicates_are_counted_and_change_nothing():
    points = torch.randn(150, 3, generator=torch.Generator().manual_seed(0))
    once, twice = measure_space(points), measure_space(torch.cat([points, points[:40]]))
    assert (once.duplicates, twice.duplicates, twice.points) == (0, 40, 150)
    assert once.estimates == twice.estimates and once.surrogates == twice.surrogates


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"policies": 2}, "--probes.policies expects at least 3, but got 2"),
        ({"neighbors": 1}, "--probes.neighbors expects at least 2"),
        ({"neighbors": 50, "policies": 50}, r"fewer than --probes.policies \(50\), but got 50"),
        ({"every": 0}, "--probes.every expects at least 1"),
        ({"latents": 1}, "--probes.latents expects at least 2"),
        ({"extra": ["Nothing"]}, "--probes.extra"),
    ],
)
def test_bad_settings(settings, sentence):
    with pytest.raises(UserError, match=sentence):
        ProbeCallback(**settings)


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["behavior", "parameters"])
def test_a_fit_made_without_is_probed_afterwards_with_the_same_result(logs, done, encoder, capsys):
    fit = done if encoder == "behavior" else main([*TINY, "--logs", str(logs), "--model.encoder", "parameters"])
    report = report_of(fit)
    (fit.folder / "probes.json").rename(fit.folder / "kept.json")
    sweeps(["probe", str(fit.folder)])
    assert report_of(fit) == report
    assert capsys.readouterr().out.strip().splitlines()[-1] == str(fit.folder / "probes.json")


@pytest.mark.parametrize(
    "arguments, sentence",
    [([], "needs runs"), (["nowhere"], "nowhere expects checkpoints/best.ckpt")],
)
def test_nothing_to_probe(arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        sweeps(["probe", *arguments])
