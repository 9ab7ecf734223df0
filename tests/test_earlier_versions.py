"""What earlier versions left behind opens, and the same commands find it again instead of repeating it.

`tests/data/of_<date>/logs` is what the commit of that day wrote with the commands below, less pictures and events.
"""

from __future__ import annotations

import importlib.metadata
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_pz import compress, evaluate, finetune, fit, load_autoencoder, load_policy, read_pool
from lightning_pz.compression.formats.network_file import read_network

DATA = Path(__file__).parent / "data"
RUN = "logs/fit/mountaincar/old"
FIT = [
    "--env", "mountaincar", "--policy", "small", "--logs", "logs", "--model.latent_dim", "2", "--model.encoder_widths", "[8]",
    "--model.decoder_widths", "[8]", "--data.random.candidates", "60", "--data.random.keep", "0.5",
    "--data.random.neighbors", "5", "--data.batch_size", "16", "--data.states_per_step", "8", "--data.steps_per_epoch", "5",
    "--data.random.states", "{probe: 16, train: 24, val: 12, test: 12}", "--trainer.max_steps", "10",
    "--trainer.log_every_n_steps", "5",
]  # fmt: skip
FINETUNE = [
    "--checkpoint", f"{RUN}/checkpoints/best.ckpt", "--task", "standard", "--algorithm", "pgpe", "--logs", "logs",
    "--budget", "12000", "--starts", "2", "--pgpe.population", "4", "--evaluate_every", "6000",
    "--evaluation_episodes", "2", "--test_episodes", "2",
]  # fmt: skip
EVALUATE = [
    "--checkpoint", f"{RUN}/checkpoints/best.ckpt", "--tasks", "[standard]", "--policies", "4", "--episodes", "1",
    "--draws", "5", "--best", "2", "--fresh_episodes", "2", "--logs", "logs",
]  # fmt: skip
COMPRESS = [
    "--env", "MountainCarContinuous-v0", "--logs", "logs", "--distill.steps", "60", "--distill.episodes", "1",
    "--distill.held_out", "1", "--distill.rounds", "1", "--distill.batch_size", "32", "--episodes", "2",
    "--sparsity", "0.5", "--progress", "false",
]  # fmt: skip


@pytest.fixture(params=["of_2026_11_22", "of_2026_11_25"])
def day(request, tmp_path, monkeypatch):
    """Work in a folder that holds what the version of a day left behind, with the packages of that day."""
    shutil.copytree(DATA / request.param, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    installed, then = importlib.metadata.version, {"gymnasium": "1.4.0", "mujoco": "4.0.0"}
    monkeypatch.setattr(importlib.metadata, "version", lambda name: then.get(name) or installed(name))
    return request.param


def results() -> dict[str, bytes]:
    """Return every summary, pool description and policy that lies there, by path."""
    names = ("summary.json", "pool.json", "policy.npz", "policy.lpz", "best.ckpt", "returns.csv")
    return {str(path): path.read_bytes() for path in Path("logs").rglob("*") if path.name in names}


def test_files_open(day):
    pool = read_pool(next(Path("logs/pools").glob("mountaincar-*")), verify=True)
    assert len(pool.params(np.arange(30))) == 30
    model = load_autoencoder(f"{RUN}/checkpoints/best.ckpt")
    assert model.decoder(torch.zeros(1, 2)).shape == (1, pool.layout.num_params)
    policy = next(Path("logs/finetune").rglob("policy.npz"))
    seen = torch.zeros(3, 2)
    wanted = load_policy(policy).act(seen)
    compressed, _ = read_network(next(Path("logs/compress").rglob("policy.lpz")))
    with torch.no_grad():
        assert compressed(seen).shape == wanted.shape == (3, 1)


def test_searches_evaluations_and_compressed_files_are_found_again(day):
    before = results()
    finetune.main(FINETUNE)
    evaluate.main(EVALUATE)
    if day != "of_2026_11_22":  # whose test episodes had other seeds: the files open, the measured return is another
        compress.main(["--policy", str(next(Path("logs/finetune").rglob("policy.npz"))), *COMPRESS])
    assert results() == before


def test_the_pool_is_found_again(day):
    before = {path: content for path, content in results().items() if "pools" in path}
    done = fit.main([*FIT, "--run_name", "again"])
    assert {path: content for path, content in results().items() if "pools" in path} == before
    assert Path(done.summary["pool"]).resolve() in [Path(path).parent.resolve() for path in before]
