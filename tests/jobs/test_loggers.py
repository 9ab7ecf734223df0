"""Every command that logs hands its numbers to all loggers, in worker processes too."""

import csv
import json
import math
from pathlib import Path

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_pz import collect, compress, evaluate, finetune, fit
from lightning_pz.common.errors import UserError
from tests.logged import mlflow_runs, wandb_rows

LOGGERS = ["--logger", "tensorboard,csv,wandb,mlflow"]
STATES = ["--data.grown.states", "{probe: 16, train: 24, val: 12, test: 12, episodes: 2}"]
GROWN = [
    "--data.recipe", "grown", "--data.grown.steps", "6000", "--data.grown.first", "40", "--data.grown.size", "60",
    "--data.grown.horizon", "20", "--data.grown.directions", "4", "--data.grown.population", "4",
    "--data.grown.generations", "4", "--data.grown.neighbors", "4", *STATES,
]  # fmt: skip
TINY = [
    "--env", "mountaincar", "--env.horizon", "40", "--policy", "small", "--model.latent_dim", "2", "--data.batch_size", "8",
    "--data.states_per_step", "8", "--data.steps_per_epoch", "4", "--trainer.max_steps", "8", "--trainer.log_every_n_steps", "2",
    "--model.encoder_widths", "[8]", "--model.decoder_widths", "[8]",
]  # fmt: skip
PLAYED = ["--policies", "6", "--episodes", "2", "--draws", "10", "--best", "3", "--fresh_episodes", "3", "--threads", "1"]  # fmt: skip
SEARCH = ["--task", "left", "--budget", "900", "--starts", "2", "--pgpe.population", "4", "--evaluation_episodes", "2", "--test_episodes", "3"]  # fmt: skip
SMALLER = ["--method", "prune", "--sparsity", "0.5", "--distill.steps", "40", "--distill.episodes", "2", "--distill.held_out", "1", "--distill.rounds", "1", "--episodes", "2"]  # fmt: skip


def columns(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return steps and values by name of a metrics.csv."""
    found: dict[str, list[tuple[int, float]]] = {}
    with (folder / "metrics.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            for name in row.keys() - {"step"}:
                if row[name]:
                    found.setdefault(name, []).append((int(row["step"]), float(row[name])))
    return found


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return the same of TensorBoard's events."""
    read = EventAccumulator(str(folder)).Reload()
    return {tag: [(event.step, event.value) for event in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


@pytest.mark.slow
def test_every_command_that_logs(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    place = ["--logs", str(tmp_path), *LOGGERS]
    fitted = fit.main([*TINY, *GROWN, *place])
    best = ["--checkpoint", fitted.summary["checkpoint"]]
    evaluate.main([*best, *PLAYED, *place])
    finetune.main([*best, *SEARCH, "--seeds", "2", "--workers", "2", *place])
    (searched,) = (tmp_path / "finetune").rglob("*-seed1")
    compress.main(["--env", "mountaincar", "--env.horizon", "40", "--policy", str(searched / "policy.npz"), *SMALLER, *place])  # fmt: skip

    kinds = ("pools", "fit", "evaluate", "finetune", "compress")
    runs = {run.info.run_name: run for run in mlflow_runs(tmp_path)}
    assert {kind: sum(name.startswith(f"{kind}/") for name in runs) for kind in kinds} == {
        "pools": 1, "fit": 1, "evaluate": 1, "finetune": 2, "compress": 1,
    }  # fmt: skip
    for name, run in runs.items():
        folder, logged = tmp_path / name, columns(tmp_path / name)
        assert run.info.status == "FINISHED"
        assert {key: values[-1][1] for key, values in logged.items()} == pytest.approx(run.data.metrics)
        shown = events(folder)
        for key, values in logged.items():  # float32 in TensorBoard
            assert shown[key] == [(step, pytest.approx(value, rel=1e-6)) for step, value in values], (name, key)
        (file,) = folder.rglob("*.wandb")
        told = [row for row in wandb_rows(file) if any(key in row for key in logged)]
        assert all(
            any(row.get(key) == pytest.approx(value, nan_ok=True) for row in told)
            for key, values in logged.items()
            for _, value in values
            if math.isfinite(value)
        )
        if (config := folder / "config.yaml").is_file():  # a pool has none
            plain = {key: value for key, value in yaml.safe_load(config.read_text()).items() if isinstance(value, int)}
            assert {key: run.data.params[key] for key in plain} == {key: str(value) for key, value in plain.items()}
    with (searched / "curve.csv").open(newline="") as file:
        curve = [float(row["eval_return"]) for row in csv.DictReader(file)]
    assert [value for _, value in columns(searched)["eval_return"]] == pytest.approx(curve)
    assert json.loads((fitted.folder / "summary.json").read_text())["val_fvu"] in [
        pytest.approx(value) for _, value in columns(fitted.folder)["val_fvu"]
    ]
    # Quiet on the terminal: what loggers have to say is in their own places.
    printed = capsys.readouterr()
    assert not any(word in (printed.out + printed.err).lower() for word in ("wandb:", "mlflow", "warning"))


@pytest.mark.slow
def test_a_resumed_fit_goes_on_in_its_csv_file(tmp_path):
    random = ["--data.random.candidates", "100", "--data.random.neighbors", "3", "--data.random.states", STATES[1]]
    place = ["--logs", str(tmp_path), "--logger", "csv"]
    straight = fit.main([*TINY, *random, *place, "--run_name", "straight"])
    begun = fit.main([*TINY, *random, *place, "--run_name", "begun"])
    # As a kill after the first validation leaves it: with rows beyond the state.
    last = begun.folder / "checkpoints" / "last.ckpt"
    again = fit.main([*TINY, *random, *place, "--ckpt_path", str(last)])
    assert again.folder == begun.folder
    one, other = columns(straight.folder), columns(again.folder)
    assert (
        one.keys() == other.keys() and one["val_fvu"] == other["val_fvu"] and one["train_loss"] == other["train_loss"]
    )


def test_a_store_that_cannot_be_opened_leaves_no_run(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nosuch://store")
    random = ["--data.random.candidates", "100", "--data.random.neighbors", "3", "--data.random.states", STATES[1]]
    with pytest.raises(UserError, match="--logger mlflow cannot begin"):
        fit.main([*TINY, *random, "--logs", str(tmp_path), "--logger", "mlflow", "--run_name", "mine"])
    assert not (tmp_path / "fit" / "mountaincar" / "mine").exists()


@pytest.mark.parametrize(
    "command, words",
    [
        (fit, ["--env", "mountaincar"]),
        (collect, ["--env", "halfcheetah"]),
        (evaluate, ["--checkpoint", "CHECKPOINT"]),
        (finetune, ["--checkpoint", "CHECKPOINT"]),
        (compress, ["--env", "cartpole", "--algorithm", "ppo"]),
    ],
)
def test_a_logger_that_there_is_not_leaves_nothing_behind(command, words, tmp_path):
    (tmp_path / "best.ckpt").write_bytes(b"")
    words = [str(tmp_path / "best.ckpt") if word == "CHECKPOINT" else word for word in words]
    with pytest.raises(
        UserError, match="--logger expects one of tensorboard, csv, wandb, mlflow, but got 'tensorbord'"
    ):
        command.main([*words, "--logger", "tensorbord", "--logs", str(tmp_path / "logs")])
    assert not (tmp_path / "logs").exists()
