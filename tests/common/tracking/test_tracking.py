"""Each logger takes a run's numbers, goes on after an interruption, and is read back by its own tool."""

import csv
import io
import json

import mlflow
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_pz.common.errors import UserError
from lightning_pz.common.tracking.settings import LOGGERS, Loggers, check_loggers, look_command, read_loggers
from lightning_pz.common.tracking.tracker import Tracker
from tests.logged import mlflow_runs, wandb_rows, wandb_settings


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Return a folder of logs, whose store of MLflow takes seconds to make."""
    return tmp_path_factory.mktemp("logs")


@pytest.fixture
def drawn():
    figure = Figure()
    figure.subplots().plot([1, 2])
    return figure


def log(tracker, steps, values):
    for step in steps:
        tracker.log({"value": values[step], "a:task/return": 2.0, "lost": np.nan}, step)


def test_all_of_them_side_by_side_and_again_after_an_interruption(logs, drawn):
    loggers, folder = Loggers(LOGGERS, str(logs)), logs / "finetune" / "car" / "run"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("seed: 3\npgpe: {sigma: 0.2}\n")
    with pytest.raises(KeyboardInterrupt), Tracker.of(loggers, folder) as tracker:
        log(tracker, (0, 10, 20), {0: 0.0, 10: 1.0, 20: -1.0})  # the last is lost, since the state is that of step 15
        raise KeyboardInterrupt
    with Tracker.of(loggers, folder, purge_step=16) as tracker:
        log(tracker, (20, 30), {20: 2.0, 30: 3.0})
        tracker.figure("drawn", drawn, 30, folder / "figures")

    events = EventAccumulator(str(folder)).Reload()
    assert [(event.step, event.value) for event in events.Scalars("value")] == [(0, 0), (10, 1), (20, 2), (30, 3)]
    assert events.Tags()["images"] == ["drawn"] and set(events.Tags()["scalars"]) == {"value", "a:task/return"}

    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(int(row["step"]), float(row["value"])) for row in rows] == [(0, 0), (10, 1), (20, 2), (30, 3)]
    assert {row["a:task/return"] for row in rows} == {"2.0"} and "lost" not in rows[0]

    # The services keep what was lost, and go on in the same run.
    kept = [(0, 0.0), (10, 1.0), (20, -1.0), (20, 2.0), (30, 3.0)]
    (run,) = mlflow_runs(logs)
    client = mlflow.MlflowClient(f"sqlite:///{logs / 'mlflow.db'}")
    assert (run.info.run_name, run.info.status) == ("finetune/car/run", "FINISHED")
    assert run.data.params == {"seed": "3", "pgpe/sigma": "0.2"}
    assert sorted((one.step, one.value) for one in client.get_metric_history(run.info.run_id, "value")) == kept
    assert run.data.metrics["a.task/return"] == 2.0
    assert [one.path for one in client.list_artifacts(run.info.run_id, "figures")] == ["figures/drawn.png"]

    found, names = [], set()
    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        names.add(file.name)
        found += [(row["trainer/global_step"], row["value"]) for row in wandb_rows(file) if "value" in row]
    assert found == kept and len(names) == 1
    first = min(folder.glob("wandb/offline-run-*/*.wandb"))
    assert wandb_settings(first) == {"seed": 3, "pgpe": {"sigma": 0.2}}
    # All of them have the pixels of the file.
    pixels = imread(folder / "figures" / "drawn.png")[..., :3]
    (shown,), (sent,) = events.Images("drawn"), folder.glob("wandb/offline-run-*/files/media/images/figures/*.png")
    stored = client.download_artifacts(run.info.run_id, "figures/drawn.png", str(logs))
    for found_there in (io.BytesIO(shown.encoded_image_string), sent, stored):
        np.testing.assert_array_equal(imread(found_there, format="png")[..., :3], pixels)
    assert set(json.loads((folder / "runs_elsewhere.json").read_text())) == {"wandb", "mlflow"}


def test_a_store_of_mlflow_that_the_environment_names(logs, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{logs / 'mlflow.db'}")
    with Tracker.of(Loggers(("mlflow",), str(tmp_path)), tmp_path / "elsewhere") as tracker:
        tracker.log({"value": 1.0}, 1)
    assert not (tmp_path / "mlflow.db").exists()
    assert "elsewhere" in [run.info.run_name for run in mlflow_runs(logs)]


def test_a_store_that_cannot_be_opened_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nosuch://store")
    with pytest.raises(UserError, match=r"--logger mlflow cannot begin: .*nosuch.*see MLFLOW_TRACKING_URI"):
        Tracker.of(Loggers(("mlflow",), str(tmp_path)), tmp_path / "run")


@pytest.mark.parametrize(
    "given, told",
    [
        ("tensorbord", "--logger expects one of tensorboard, csv, wandb, mlflow, but got 'tensorbord'. Did you mean"),
        ("csv,csv", "--logger expects different loggers joined by commas"),
        ("", "--logger expects one of"),
        ("csv, wandb", "but got ' wandb'"),
    ],
)
def test_words_that_are_no_loggers(given, told):
    with pytest.raises(UserError, match=told.replace(".", r"\.")):
        read_loggers(given, "logs")


def test_a_missing_package_and_a_missing_account(tmp_path, monkeypatch):
    monkeypatch.setattr("lightning_pz.common.checks.is_installed", lambda module: module != "mlflow")
    with pytest.raises(UserError, match=r"--logger mlflow needs the package mlflow.*lightning_pz\[mlflow\]"):
        check_loggers(Loggers(("mlflow",)))
    check_loggers(Loggers(("csv", "tensorboard", "wandb")))
    monkeypatch.setattr("wandb.setup", lambda: type("Setup", (), {"settings": type("S", (), {"mode": "online"})})())
    monkeypatch.setattr("wandb.login", lambda prompt: False)
    with pytest.raises(UserError, match="run `wandb login`, set WANDB_API_KEY"):
        check_loggers(Loggers(("wandb",)))


def test_what_shows_the_curves(monkeypatch, tmp_path):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "fit"
    shown = {name: look_command(Loggers((name,), str(tmp_path)), folder) for name in LOGGERS}
    assert shown["tensorboard"] == look_command(Loggers(LOGGERS), folder) == f"tensorboard --logdir {folder}"
    assert shown["mlflow"] == f"mlflow ui --backend-store-uri sqlite:///{tmp_path / 'mlflow.db'}"
    assert shown["csv"].endswith("metrics.csv") and "wandb sync" in shown["wandb"]
