"""The main job: what it leaves behind, that it repeats and resumes to the last bit, and what it refuses."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import drawing
import numpy as np
import pytest
import torch
from lightning.pytorch.plugins.environments import SLURMEnvironment
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_pz.autoencoder.load import load_autoencoder
from lightning_pz.autoencoder.module import BehaviorAutoencoder
from lightning_pz.common.errors import UserError
from lightning_pz.envs.presets import expand_presets
from lightning_pz.fit import main
from lightning_pz.jobs.fit import prepare_fit
from lightning_pz.policy import act_shared
from lightning_pz.pool.store import read_pool
from tests.children import child_environment
from tests.killed import killed_in_step

TINY = [
    "--policy", "small", "--model.latent_dim", "2", "--model.encoder_widths", "[16]", "--model.decoder_widths", "[16]",
    "--data.random.candidates", "300", "--data.random.neighbors", "5", "--data.batch_size", "32",
    "--data.random.states", "{probe: 16, train: 24, val: 12, test: 12}", "--data.states_per_step", "8",
    "--data.steps_per_epoch", "10", "--trainer.max_steps", "30", "--trainer.log_every_n_steps", "5",
]  # fmt: skip
SUMMARY_KEYS = {
    "env", "policy", "latent_dim", "seed", "val_fvu", "test_fvu", "train_fvu", "pca_fvu", "params_pca_fvu",
    "affine_fvu", "test_pca_fvu", "test_params_pca_fvu", "test_affine_fvu", "novelty_contrast", "collect_seconds", "fit_seconds", "checkpoint",
}  # fmt: skip


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    return tmp_path_factory.mktemp("logs")


def run(logs, *arguments, env="mountaincar"):
    return main(["--env", env, *TINY, "--logs", str(logs), *arguments])


@pytest.fixture(scope="module")
def done(logs):
    with drawing.all_drawn():
        return run(logs, "--model.dropout", "0.1")


def weights(folder, name="last"):
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]


def assert_same_weights(one, other):
    assert one.keys() == other.keys()
    for key in one:
        assert torch.equal(one[key], other[key]), key


def test_run_folder_holds_what_the_readme_says(done):
    assert done.summary.keys() >= SUMMARY_KEYS
    assert json.loads((done.folder / "summary.json").read_text()) == done.summary
    assert (done.folder / "config.yaml").is_file()
    for name in ("fvu", "reconstruction", "latents"):
        assert (done.folder / "figures" / f"{name}.png").stat().st_size > 5000
    assert {path.name for path in (done.folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert Path(done.summary["checkpoint"]).is_file()


def test_tensorboard_shows_curves_figures_and_hyperparameters(done):
    tags, plugins = set(), set()
    for path in done.folder.glob("events.*"):
        events = EventAccumulator(str(path)).Reload()
        tags |= set(events.Tags()["scalars"]) | set(events.Tags()["images"])
        plugins |= set(events.summary_metadata)
    assert tags >= {
        "train_loss", "val_fvu", "train_fvu", "test_fvu", "pca_fvu", "params_pca_fvu", "affine_fvu", "latent_spread",
        "latent_participation_ratio", "steps_per_second", "policies_per_second", "fvu", "reconstruction", "latents",
    }  # fmt: skip
    assert "_hparams_/session_start_info" in plugins


def test_val_fvu_curve_has_no_invented_point(done):
    values = []
    for path in done.folder.glob("events.*"):
        events = EventAccumulator(str(path)).Reload()
        values += [e.step for e in events.Scalars("val_fvu")] if "val_fvu" in events.Tags()["scalars"] else []
    assert values == [9, 19, 29]


def test_held_out_fvu_is_what_the_checkpoint_does(done):
    """Recomputed by hand from the pool and the checkpoint: policies and states that the training never saw."""
    model, pool = load_autoencoder(done.summary["checkpoint"]), read_pool(Path(done.summary["pool"]))
    order = np.random.default_rng(0).permutation(len(pool))
    held = round(0.05 * len(pool))
    rows, states = order[len(pool) - 2 * held : len(pool) - held], pool.arrays["states"][40:52]
    own = pool.params(rows)
    standardized = pool.network.standardize(torch.from_numpy(states.copy()))
    truth = act_shared(pool.layout, own, standardized).double()
    with torch.no_grad():
        rebuilt = act_shared(pool.layout, model(own), standardized).double()
    expected = ((rebuilt - truth) ** 2).sum() / ((truth - truth.mean(0)) ** 2).sum()
    assert done.summary["val_fvu"] == pytest.approx(float(expected), rel=2e-3)  # the table is float16


def test_same_seed_same_result_and_config_repeats_it(logs, done):
    again = run(logs, "--model.dropout", "0.1")
    assert again.folder != done.folder
    assert_same_weights(weights(done.folder), weights(again.folder))
    repeated = main(["--config", str(done.folder / "config.yaml"), "--logs", str(logs)])
    assert repeated.folder not in (again.folder, done.folder)
    assert_same_weights(weights(done.folder), weights(repeated.folder))
    timeless = [
        {k: v for k, v in r.summary.items() if k not in ("fit_seconds", "checkpoint", "next_command")}
        for r in (done, again, repeated)
    ]
    assert timeless[0] == timeless[1] == timeless[2]


def test_other_seed_other_result(logs, done):
    other = run(logs, "--model.dropout", "0.1", "--seed_everything", "1")
    assert other.summary["val_fvu"] != done.summary["val_fvu"]
    assert other.summary["pool"] == done.summary["pool"]


def test_a_fresh_pool_gives_the_same_result_as_a_found_one(tmp_path, done):
    fresh = run(tmp_path, "--model.dropout", "0.1")
    assert_same_weights(weights(done.folder), weights(fresh.folder))


def test_resumed_equals_straight(logs, done):
    with killed_in_step(25):
        run(logs, "--model.dropout", "0.1", "--run_name", "small-k2-seed0-900")
    last = done.folder.with_name("small-k2-seed0-900") / "checkpoints" / "last.ckpt"
    state = torch.load(last, weights_only=True)
    assert state["callbacks"]["TrainingTime"]["time_elapsed"]["train"] > 0
    state["callbacks"]["TrainingTime"]["time_elapsed"]["train"] = 1000.0
    torch.save(state, last)
    resumed = run(logs, "--model.dropout", "0.1", "--ckpt_path", "last")
    assert resumed.folder.name == "small-k2-seed0-900"
    assert_same_weights(weights(done.folder), weights(resumed.folder))
    assert_same_weights(weights(done.folder, "best"), weights(resumed.folder, "best"))
    assert resumed.summary["val_fvu"] == done.summary["val_fvu"]
    assert resumed.summary["fit_seconds"] > 1000 > done.summary["fit_seconds"] > 0


def test_ctrl_c_is_heard_as_such_and_again_afterwards(logs, monkeypatch):
    straight_step, before = BehaviorAutoencoder.training_step, signal.getsignal(signal.SIGINT)

    def interrupted(self, batch, batch_idx):
        if self.global_step == 15:
            raise KeyboardInterrupt
        return straight_step(self, batch, batch_idx)

    monkeypatch.setattr(BehaviorAutoencoder, "training_step", interrupted)
    with pytest.raises(KeyboardInterrupt):  # which the entry point turns into exit code 130
        # Lightning's own clock stands beside ours.
        run(logs, "--run_name", "interrupted", "--trainer.max_time", "00:01:00:00")
    assert signal.getsignal(signal.SIGINT) is before
    folder = logs / "fit" / "mountaincar" / "interrupted"
    assert (folder / "checkpoints" / "last.ckpt").is_file() and not (folder / "summary.json").exists()


def test_the_longest_time_ends_a_training(logs, monkeypatch):
    """Though our own clock counts the seconds beside Lightning's."""
    straight_step, taken = BehaviorAutoencoder.training_step, []

    def slow(self, batch, batch_idx):
        time.sleep(0.1)
        taken.append(self.global_step)
        return straight_step(self, batch, batch_idx)

    monkeypatch.setattr(BehaviorAutoencoder, "training_step", slow)
    run(logs, "--run_name", "timed", "--trainer.max_time", "00:00:00:02")
    assert 0 < len(taken) < 30


def test_a_checkpoint_inside_an_epoch_is_not_resumed_from(logs, monkeypatch):
    """Batches are drawn epoch by epoch: what follows would not be what a straight run does."""
    straight_step = BehaviorAutoencoder.training_step

    def interrupted(self, batch, batch_idx):
        if self.global_step == 17:
            raise KeyboardInterrupt
        return straight_step(self, batch, batch_idx)

    half = ("--trainer.val_check_interval", "0.5", "--seed_everything", "4")
    with monkeypatch.context() as cut:
        cut.setattr(BehaviorAutoencoder, "training_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(logs, *half)
    with pytest.raises(UserError, match="was written 5 steps into an epoch of 10, where a validation lay"):
        run(logs, *half, "--ckpt_path", "last")


def test_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(logs, monkeypatch):
    straight_step = BehaviorAutoencoder.training_step

    def poisons(self, batch, batch_idx):
        if self.global_step == 25:
            with torch.no_grad():
                self.decoder.network[-1].bias.fill_(float("nan"))
        return straight_step(self, batch, batch_idx)

    monkeypatch.setattr(BehaviorAutoencoder, "training_step", poisons)
    with pytest.raises(UserError, match="became nan at step 25"):
        run(logs, "--run_name", "poisoned")
    kept = weights(logs / "fit" / "mountaincar" / "poisoned")
    assert all(torch.isfinite(value).all() for value in kept.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        ["--model.encoder", "parameters"],
        ["--model.loss", "parameters"],
        ["--model.loss", "behavior_rms"],
        ["--model.latent_dim", "1"],
    ],
)
def test_every_encoder_and_loss_runs(logs, change):
    summary = run(logs, *change).summary
    assert np.isfinite([value for value in summary.values() if isinstance(value, float)]).all()


@pytest.mark.slow
def test_checkpoint_works_in_a_fresh_process_without_the_pool(done, tmp_path):
    script = f"""
import torch
from lightning_pz.autoencoder.module import BehaviorAutoencoder
model = BehaviorAutoencoder.load_from_checkpoint({str(Path(done.summary["checkpoint"]).resolve())!r}).eval()
params = model.decoder(model.latent_mean[None])
action = model.policy(params, torch.tensor([[[-0.5, 0.0]]]))
assert action.shape == (1, 1, 1) and action.abs().max() <= 1
assert model.env["id"] == "MountainCarContinuous-v0"
print(params.shape[1])
"""
    output = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=child_environment(), check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    assert output.stdout.strip() == "9"


@pytest.mark.slow
def test_two_processes_give_the_same_fvu_as_one(logs, tmp_path):
    """The real command, as a person types it, under DDP, from before its pool is made."""
    command = [
        sys.executable, "-m", "lightning_pz.fit", "--env", "mountaincar", *TINY, "--logs", str(tmp_path), "--data.batch_size",
        "16", "--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp",
    ]  # fmt: skip
    output = subprocess.run(command, env=child_environment(), capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert output.returncode == 0 and "Traceback" not in output.stderr, output.stderr
    # One pool, one run and one closing table: the first process writes, the other one helps.
    folder = Path(output.stdout.strip().splitlines()[-1])
    assert output.stdout.count("FVU held out") == 1
    assert [path for path in (tmp_path / "fit" / "mountaincar").iterdir() if path.is_dir()] == [folder]
    assert len([path for path in (tmp_path / "pools").iterdir() if path.is_dir()]) == 1
    assert len({path.name.split(".")[-2] for path in folder.glob("events.*")}) == 1  # of one process
    summary = json.loads((folder / "summary.json").read_text())
    single = run(logs)
    # The two halves of a step are those of one process with twice the batch; only the order of sums differs.
    for key in ("val_fvu", "test_fvu", "pca_fvu", "steps"):
        assert summary[key] == pytest.approx(single.summary[key], rel=1e-3), key
    assert read_pool(Path(summary["pool"])).digest == read_pool(Path(single.summary["pool"])).digest


def test_a_job_of_submitit_is_not_queued_again_by_lightning_too(logs, monkeypatch):
    words = ["--env", "mountaincar", *TINY, "--logs", str(logs)]
    for name, value in {"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "lightning_pz", "SLURM_JOB_ID": "1234"}.items():
        monkeypatch.setenv(name, value)
    for name in ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID"):
        monkeypatch.setenv(name, "0")

    def environment():
        return prepare_fit(expand_presets("fit", words)).trainer._accelerator_connector.cluster_environment

    assert isinstance(environment(), SLURMEnvironment) and environment().auto_requeue
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    assert isinstance(environment(), SLURMEnvironment) and not environment().auto_requeue
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "local")
    monkeypatch.delenv("SLURM_NTASKS")
    assert not isinstance(environment(), SLURMEnvironment)
