"""Which evaluations are averaged for the task-recovery dimension, and which are no sample of training seeds."""

import hashlib
import json
from types import SimpleNamespace

import pytest
import yaml

from lightning_pz.common.errors import UserError
from sweeps.dimension.task_recovery import read_evaluations, task_dimensions


@pytest.fixture
def write(tmp_path):
    """Write the evaluation of a fit, and return its folder."""

    def evaluation(fit, best, k=2, seed=0, encoder="behavior", policies=10, model=None, **settings):
        run = tmp_path / "fit" / "mountaincar" / fit
        (run / "checkpoints").mkdir(parents=True, exist_ok=True)
        (run / "summary.json").write_text(json.dumps({"pool": "logs/pools/one"}))
        (run / "config.yaml").write_text(yaml.safe_dump({"model": {"encoder": encoder, **(model or {})}}))
        (run / "checkpoints" / "best.ckpt").write_bytes(fit.encode())
        number = len(list(tmp_path.glob("evaluate/mountaincar/*")))
        folder = tmp_path / "evaluate" / "mountaincar" / f"{fit}-{number}"
        folder.mkdir(parents=True)
        summary = {
            "policy": "small", "latent_dim": k, "seed": seed, "encoder": encoder, "policies": policies, "episodes": 2,
            "checkpoint": f"logs/fit/mountaincar/{fit}/checkpoints/best.ckpt", "left/recovery_best": best,
            "left/recovery_best_low": best - 0.1, "left/recovery_best_high": best + 0.1,
        }  # fmt: skip
        (folder / "summary.json").write_text(json.dumps(summary))
        own = {"policies": policies, "episodes": 2, **({"latents": "density"} if k > 3 else {}), **settings}
        known = {"checkpoint": hashlib.sha256(fit.encode()).hexdigest(), "pool": "one", "settings": own}
        (folder / "identity.json").write_text(json.dumps(known))
        return folder

    return evaluation


def measure(logs, *fits, **model):
    """Return latent size and recovery there, of a group of these fits with settings of the model."""
    runs = [
        SimpleNamespace(folder=logs / "fit" / "mountaincar" / fit, grown=False, config={"model": model})
        for fit in (fits or ["nowhere"])
    ]
    found = task_dimensions(SimpleNamespace(policy="small", runs=runs), read_evaluations(logs, "mountaincar"), 0.05)
    return [(one.value, pytest.approx(one.best), one.seeds, one.model) for one in found]


def test_fits_of_another_encoder_or_loss_are_no_other_seeds(write, tmp_path):
    write("a", 1.0)
    translation = tmp_path / "evaluate" / "mountaincar" / "translate-1"
    translation.mkdir()
    (translation / "summary.json").write_text(
        json.dumps({"checkpoint": "logs/fit/mountaincar/a/checkpoints/best.ckpt"})
    )
    write("b", 0.2, encoder="parameters")
    write("c", 0.4, model={"loss": "parameters"})
    assert measure(tmp_path) == [(2, 1.0, 1, "")]
    assert measure(tmp_path, encoder="parameters") == [(float("inf"), 0.2, 1, "encoder parameters")]
    assert measure(tmp_path, loss="parameters") == [(float("inf"), 0.4, 1, "loss parameters")]


def test_of_several_bottlenecks_that_of_the_most_sizes_counts(write, tmp_path):
    one, other = write("a", 0.5), write("b", 1.0, model={"bottleneck": "nested"})
    assert measure(tmp_path) == []  # of other fits
    with pytest.raises(UserError, match=rf'{one} and {other} are no such sample: bottleneck is "plain", not "nested"'):
        measure(tmp_path, "a", "b")
    write("c", 1.0, k=5)
    assert measure(tmp_path) == [(5, 1.0, 1, "")]


def test_two_fits_of_one_seed_are_no_sample(write, tmp_path):
    one, other = write("a", 1.0), write("b", 0.2)
    with pytest.raises(
        UserError, match=rf"{one} and {other} are no such sample: both are of k = 2 and training seed 0"
    ):
        measure(tmp_path, "a", "b")
    assert measure(tmp_path) == []
    assert measure(tmp_path, "a") == [(2, 1.0, 1, "")]


@pytest.mark.parametrize("change", [{"latents": "gaussian"}, {"episode_seed": 5}, {"latent_seed": 1}])
def test_one_checkpoint_that_was_evaluated_in_two_ways_is_refused(write, tmp_path, change):
    one, other = write("a", 1.0, k=5), write("a", 0.2, k=5, **change)
    with pytest.raises(UserError, match=rf"{one} and {other} are no such sample: {next(iter(change))} is"):
        measure(tmp_path, "a")
    assert measure(tmp_path) == []


def test_evaluations_of_the_most_checkpoints_count_and_a_grid_of_latents_goes_with_any(write, tmp_path):
    for k, best in ((2, 0.5), (5, 0.96)):
        write(f"k{k}-0", best, k=k)
        write(f"k{k}-1", best + 0.02, k=k, seed=1)
    write("k5-0", 0.1, k=5, episode_seed=7)
    write("k5-0", 0.1, k=5, policies=50)
    every = ["k2-0", "k2-1", "k5-0", "k5-1"]
    assert measure(tmp_path, *every) == measure(tmp_path) == [(5, 0.97, 2, "")]
    alone = write("k8-0", 0.1, k=8, latents="gaussian")
    assert measure(tmp_path) == [(5, 0.97, 2, "")]
    with pytest.raises(UserError, match=rf'{alone} are no such sample: latents is "density", not "gaussian"'):
        measure(tmp_path, *every, "k8-0")
