"""A run is claimed by one fit, and resumed by none but the very same: by content, with the first difference named."""

import inspect
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
import yaml

from lightning_pz.autoencoder import BehaviorAutoencoder
from lightning_pz.common.errors import UserError
from lightning_pz.fit import main
from lightning_pz.jobs.fit_cli import new_run_folder
from tests.children import child_environment
from tests.conftest import TINY_FIT
from tests.killed import killed_in_step


def run(logs, *arguments, env="mountaincar"):
    return main(["--env", env, *TINY_FIT, "--logs", str(logs), *arguments])


@pytest.fixture
def killed():
    """Returns a function that begins a fit and kills it at step 25 of 30, and the run folder it leaves."""

    def begin(logs, *arguments):
        with killed_in_step(25):
            run(logs, *arguments)
        return max((logs / "fit" / "mountaincar").glob("*/config.yaml"), key=lambda path: path.stat().st_mtime).parent

    return begin


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


OTHERS = {
    "seed_everything": (["--seed_everything", "1"], r"seed_everything is 0, not 1"),
    "latent_dim": (["--model.latent_dim", "3"], r"model\.latent_dim is 2, not 3"),
    "widths": (["--model.decoder_widths", "[8]"], r"model\.decoder_widths"),
    "steps": (["--trainer.max_steps", "60"], r"trainer\.max_steps is 30, not 60"),
    "pool seed": (["--data.random.seed", "1"], r"pool\.recipe\.seed is 0, not 1"),
    "horizon": (["--env.horizon", "50"], r"env\.horizon is 999, not 50"),
    "environment": (["--env.id", "Pendulum-v1"], r"env\.id is .*MountainCarContinuous-v0.*, not .*Pendulum-v1"),
    "policy": (["--policy.hidden", "[3]"], r"pool\.layout\.hidden"),
    "head": (["--policy.head", "gaussian"], r"pool\.layout\.head is \(absent\), not .*gaussian"),
    "batch": (["--data.batch_size", "16"], r"data\.batch_size is 32, not 16"),
}


@pytest.mark.slow
@pytest.mark.parametrize("old", [False, True], ids=["new", "without identity.json"])
def test_another_run_is_not_resumed_and_stays_as_it_is(killed, tmp_path, old):
    folder = killed(tmp_path)
    if old:  # what an earlier version left
        (folder / "identity.json").unlink()
    before = content(tmp_path)
    for arguments, difference in OTHERS.values():
        if old and difference.startswith((r"env\.", r"pool\.layout")):
            difference = "of other settings|another pool"  # an old config.yaml tells less of them
        for given in (str(folder / "checkpoints" / "last.ckpt"), "last"):
            with pytest.raises(UserError, match=difference):
                run(tmp_path, *arguments, "--ckpt_path", given)
            assert {path: data for path, data in content(tmp_path).items() if path in before} == before
    resumed = run(tmp_path, "--ckpt_path", "last", "--trainer.log_every_n_steps", "3")
    assert resumed.folder == folder and (folder / "identity.json").is_file()


@pytest.mark.slow
def test_last_is_the_newest_run_of_these_settings_not_of_that_name(killed, tmp_path):
    first = killed(tmp_path, "--model.dropout", "0.1")
    other = killed(tmp_path)
    assert other.name > first.name
    resumed = run(tmp_path, "--model.dropout", "0.1", "--ckpt_path", "last")
    assert resumed.folder == first and not (other / "summary.json").exists()
    with pytest.raises(UserError, match=r"none to resume; of the newest, .*model\.dropout is 0\.1, not 0\.2"):
        run(tmp_path, "--model.dropout", "0.2", "--ckpt_path", "last")


@pytest.mark.slow
def test_a_checkpoint_in_a_folder_that_is_not_its_own(killed, tmp_path):
    mine, other = killed(tmp_path), killed(tmp_path, "--model.latent_dim", "3")
    shutil.copy(other / "checkpoints" / "last.ckpt", mine / "checkpoints" / "last.ckpt")
    with pytest.raises(UserError, match=r"holds a model of other settings: model\.latent_dim is 3, not 2"):
        run(tmp_path, "--ckpt_path", str(mine / "checkpoints" / "last.ckpt"))
    pooled = killed(tmp_path, "--data.random.seed", "1")
    shutil.copy(pooled / "checkpoints" / "last.ckpt", mine / "checkpoints" / "last.ckpt")
    told = r"is another pool .*seed is 0, not 1.* with --data\.pool, or leave --ckpt_path out$"
    with pytest.raises(UserError, match=told):
        run(tmp_path, "--ckpt_path", str(mine / "checkpoints" / "last.ckpt"))


def test_what_an_identity_leaves_out_at_its_default_counts(killed, tmp_path):
    """A layout does not mention its tanh head; no pool of another head is made before the run is refused."""
    folder = killed(tmp_path)
    before = content(tmp_path)
    with pytest.raises(UserError, match=rf"{folder.name}, pool\.layout\.head is \(absent\), not .*gaussian"):
        run(tmp_path, "--policy.head", "gaussian", "--ckpt_path", "last")
    assert content(tmp_path) == before


def test_the_weight_of_a_divergence_that_is_not_there_does_not_count(killed, tmp_path):
    folder = killed(tmp_path, "--model.kl_weight", "0.5")
    known = json.loads((folder / "identity.json").read_text())["model"]["kl_weight"]
    assert known == inspect.signature(BehaviorAutoencoder).parameters["kl_weight"].default
    assert run(tmp_path, "--ckpt_path", "last").folder == folder
    other = killed(tmp_path, "--model.bottleneck", "variational", "--model.kl_weight", "0.5")
    assert other != folder
    with pytest.raises(UserError, match=r"model\.kl_weight is 0\.5, not 0\.25"):
        run(tmp_path, "--model.bottleneck", "variational", "--model.kl_weight", "0.25", "--ckpt_path", "last")


def test_a_given_pool_is_the_one_that_would_have_been_made(killed, tmp_path):
    folder = killed(tmp_path)
    (pool,) = (tmp_path / "pools").glob("mountaincar-*")
    resumed = run(tmp_path, "--data.pool", str(pool), "--ckpt_path", "last")
    assert resumed.folder == folder


@pytest.mark.slow
def test_a_moved_run_still_knows_its_best_checkpoint(killed, tmp_path, monkeypatch):
    straight = run(tmp_path / "straight")
    killed(tmp_path / "here")
    shutil.move(tmp_path / "here", tmp_path / "there")
    resumed = run(tmp_path / "there", "--ckpt_path", "last")
    one, two = (
        torch.load(r.folder / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"] for r in (straight, resumed)
    )
    (key,) = (key for key in one if key.startswith("ModelCheckpoint"))
    assert two[key]["best_model_score"] == one[key]["best_model_score"]
    assert resumed.summary["val_fvu"] == straight.summary["val_fvu"]
    assert Path(two[key]["best_model_path"]).parent == (resumed.folder / "checkpoints").resolve()


def test_the_summary_tells_of_the_checkpoint_that_was_kept(tmp_path):
    """Validations that save nothing must not lend it their FVU."""
    done = run(tmp_path, "--trainer.check_val_every_n_epoch", "3", "--trainer.max_steps", "65")
    kept = torch.load(done.folder / "checkpoints" / "best.ckpt", weights_only=True)
    (state,) = (state for key, state in kept["callbacks"].items() if key.startswith("ModelCheckpoint"))
    assert done.summary["val_fvu"] == pytest.approx(float(state["best_model_score"]))
    assert kept["global_step"] in (30, 60)


def test_run_folders_are_claimed_once(tmp_path):
    found, start = [], threading.Barrier(8)

    def claim():
        start.wait()
        found.extend(new_run_folder(tmp_path, "run", None) for _ in range(5))

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 40 == len(list(tmp_path.iterdir()))
    assert new_run_folder(tmp_path, "run", "mine") == tmp_path / "mine"
    with pytest.raises(UserError, match="--run_name mine is taken"):
        new_run_folder(tmp_path, "run", "mine")


@pytest.mark.slow
def test_two_fits_begun_together_share_the_pool_and_nothing_else(tmp_path):
    command = [sys.executable, "-m", "lightning_pz.fit", "--env", "mountaincar", *TINY_FIT, "--logs", str(tmp_path)]
    both = [
        subprocess.Popen(command, env=child_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ends = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    folders = {Path(out.strip().splitlines()[-1]) for out, _ in ends}
    assert len(folders) == 2
    one, two = (json.loads((folder / "summary.json").read_text()) for folder in folders)
    assert one["val_fvu"] == two["val_fvu"] and one["pool"] == two["pool"] and one["checkpoint"] != two["checkpoint"]
    assert len(list((tmp_path / "pools").glob("*/pool.json"))) == 1


def test_a_run_at_work_is_not_resumed(killed, tmp_path):
    from lightning_pz.common.files import alone

    folder = killed(tmp_path)
    before = content(folder)
    with alone(folder), pytest.raises(UserError, match="another process is at work"):
        run(tmp_path, "--ckpt_path", "last")
    assert content(folder) == before


@pytest.mark.slow
def test_a_changed_environment_gets_a_pool_of_its_own(tmp_path):
    pools = {run(tmp_path, *horizon).summary["pool"] for horizon in ([], ["--env.horizon", "50"])}
    assert len(pools) == 2
    horizons = {json.loads((Path(pool) / "pool.json").read_text())["env"]["horizon"] for pool in pools}
    assert horizons == {999, 50}
    for folder in (tmp_path / "fit" / "mountaincar").glob("small-*"):
        config = yaml.safe_load((folder / "config.yaml").read_text())
        checkpoint = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
        assert checkpoint["hyper_parameters"]["description"]["env"]["horizon"] == config["env"]["horizon"]
