"""Sharing a study between processes: no trial twice, those of dead processes again, the same seed the same search."""

import signal
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from lightning_pz.common.errors import UserError
from sweeps.optuna_study.study import SharedStudy
from tests.sweeps.conftest import start

BEGIN = """
import sys, time
from pathlib import Path
from sweeps.optuna_study import storages, study
storages.HEARTBEAT_SECONDS, storages.GRACE_SECONDS = 1, 6
folder, url, name = Path(sys.argv[1]), None if sys.argv[2] == "-" else sys.argv[2], sys.argv[3]
shared = study.SharedStudy("s", folder, url, "minimize")
"""
WORKS = (
    BEGIN
    + """
while not (folder / "go").exists():
    time.sleep(0.01)
def objective(trial):
    with (folder / f"done-{name}").open("a") as file:
        file.write(f"{trial.number}\\n")
    time.sleep(0.02)
    return float(trial.number)
shared.work(objective)
"""
)
DIES = (
    BEGIN
    + """
def objective(trial):
    trial.suggest_int("x", 0, 1_000_000)
    trial.report(0.5, 1)
    print(trial.number, flush=True)
    time.sleep(600)
shared.work(objective)
"""
)


def url_of(kind, folder):
    return None if kind == "journal" else f"sqlite:///{folder}/studies.db"


def share(folder, kind="journal"):
    return SharedStudy("s", folder, url_of(kind, folder), "minimize")


def x(trial):
    return float(trial.suggest_int("x", 0, 1_000_000))


def fails(trial):
    raise UserError("no luck")


def interrupted(trial):
    trial.suggest_int("x", 0, 1_000_000)
    raise KeyboardInterrupt


@pytest.mark.parametrize("kind", ["journal", pytest.param("database", marks=pytest.mark.slow)])
def test_two_processes_never_take_the_same_trial(tmp_path, kind):
    shared = share(tmp_path, kind)
    shared.enqueue([{"x": number} for number in range(8)])
    url = url_of(kind, tmp_path) or "-"
    with start(tmp_path, url, "a", script=WORKS) as one, start(tmp_path, url, "b", script=WORKS) as other:
        (tmp_path / "go").touch()
        for worker in (one, other):
            assert worker.wait(120) == 0, worker.stderr.read()
    taken = [[int(line) for line in path.read_text().split()] for path in tmp_path.glob("done-*")]
    assert sorted(number for numbers in taken for number in numbers) == list(range(8))
    assert [trial.value for trial in shared.trials(TrialState.COMPLETE)] == list(range(8))


@pytest.mark.parametrize("kind", ["journal", pytest.param("database", marks=pytest.mark.slow)])
def test_a_killed_process_loses_its_own_trial_only_and_that_is_done_again(tmp_path, kind, monkeypatch):
    monkeypatch.setattr("sweeps.optuna_study.storages.HEARTBEAT_SECONDS", 1)
    monkeypatch.setattr("sweeps.optuna_study.storages.GRACE_SECONDS", 6)
    shared = share(tmp_path, kind)
    shared.enqueue([{"x": 7}, {"x": 8}])
    with start(tmp_path, url_of(kind, tmp_path) or "-", "a", script=DIES) as worker:
        assert worker.stdout.readline().strip() == "0"
        assert shared.take(x) and not shared.take(x)  # the living one's trial is not touched
        worker.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 60
    while not shared.take(x):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert not shared.take(x)  # once, not twice
    assert [(t.number, t.params, t.value) for t in shared.trials()] == [(2, {"x": 7}, 7), (1, {"x": 8}, 8)]
    assert shared.trials()[0].intermediate_values == {1: 0.5}
    assert not list((tmp_path / "locks").glob(".s-*"))


def test_points_are_queued_once_and_failed_ones_again(tmp_path):
    shared = share(tmp_path)
    points = [{"x": 100_000}, {"x": 100_001}]  # Optuna takes them for equal
    assert (shared.enqueue(points), share(tmp_path).enqueue(points)) == (2, 0)
    shared.take(fails)
    assert shared.enqueue([*points, {"x": 3}]) == 2
    assert [t.user_attrs.get("reason") for t in shared.trials(TrialState.FAIL)] == ["no luck"]
    shared.work(x)
    assert sorted(t.value for t in shared.trials(TrialState.COMPLETE)) == [3, 100_000, 100_001]


def test_a_trial_without_settings_is_none_of_a_grid(tmp_path, monkeypatch):
    """Between its look and its claim, a worker on another machine may take the last waiting trial."""
    shared = share(tmp_path)
    monkeypatch.setattr(SharedStudy, "_is_left", lambda self, sampler: True)
    shared.take(x)
    (trial,) = shared.trials()
    assert trial.state is TrialState.FAIL and "another machine" in trial.user_attrs["reason"] and not trial.params


def test_an_interrupted_trial_waits_in_its_place(tmp_path):
    shared = share(tmp_path)
    shared.enqueue([{"x": 1}, {"x": 2}])
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            shared.take(interrupted)
    assert [t.state for t in shared.trials()] == [TrialState.WAITING] * 2
    shared.work(x)
    assert [t.value for t in shared.trials()] == [1, 2]
    assert [t.state.name for t in shared.study.trials].count("FAIL") == 2


def test_an_error_of_the_program_ends_the_work_and_is_recorded(tmp_path):
    shared = share(tmp_path)
    shared.enqueue([{"x": 1}])
    with pytest.raises(ZeroDivisionError):
        shared.work(lambda trial: 1 / 0)
    assert shared.trials(TrialState.FAIL)[0].user_attrs["reason"] == "ZeroDivisionError: division by zero"


def search(folder, total, *, reopen):
    shared = share(folder)
    interruptions = [3] if reopen else []

    def objective(trial):
        x, y = trial.suggest_float("x", -5, 5), trial.suggest_categorical("y", ["a", "b"])
        if trial.number in interruptions:
            raise KeyboardInterrupt
        return x**2 + (y == "a")

    more = True
    while more:
        try:
            more = shared.take(objective, (total, 5))
        except KeyboardInterrupt:
            interruptions.clear()
        if reopen:
            shared = share(folder)
    return [trial.params for trial in shared.trials()]


def test_a_resumed_search_equals_a_straight_one(tmp_path):
    straight = search(tmp_path / "a", 13, reopen=False)
    assert len(straight) == 13 and len({str(params) for params in straight}) == 13
    assert search(tmp_path / "b", 13, reopen=True) == straight


def test_studies_of_other_settings_are_refused(tmp_path):
    shared = share(tmp_path)
    shared.agree({"fit": {"trainer.max_steps": 10}}, Path("a.yaml"))
    shared.agree({"fit": {"trainer.max_steps": 10}}, Path("a.yaml"))
    with pytest.raises(UserError, match=r"other settings than b.yaml asks for \(fit.trainer.max_steps is 10, not 20\)"):
        share(tmp_path).agree({"fit": {"trainer.max_steps": 20}}, Path("b.yaml"))


def test_the_content_of_what_settings_name_counts_and_a_grid_may_name_more(tmp_path):
    shared = share(tmp_path)
    shared.agree({"fit": {}, "contents": {"file a": "1", "file b": "2"}}, Path("a.yaml"))
    shared.agree({"fit": {}, "contents": {"file b": "2", "file c": "3"}}, Path("a.yaml"))
    for name, found in (("a", "1"), ("c", "3")):
        with pytest.raises(UserError, match=rf'contents.file {name} is "{found}", not "9"'):
            share(tmp_path).agree({"fit": {}, "contents": {f"file {name}": "9"}}, Path("a.yaml"))


def test_a_study_of_an_earlier_version_learns_what_it_did_not_write_down(tmp_path):
    share(tmp_path).agree({"fit": {"x": 1}}, Path("a.yaml"))
    share(tmp_path).agree({"fit": {"x": 1}, "pruner": "none"}, Path("a.yaml"))
    with pytest.raises(UserError, match='pruner is "none", not "median"'):
        share(tmp_path).agree({"fit": {"x": 1}, "pruner": "median"}, Path("a.yaml"))


@pytest.mark.parametrize(
    "url, sentence",
    [
        ("nonsense", "URL of a database"),
        ("sqlite:////nowhere/at/all/x.db", "can be reached"),
        ("oracle://host/name", r"needs a driver"),
    ],
)
def test_a_database_that_cannot_be_reached(tmp_path, url, sentence):
    with pytest.raises(UserError, match=sentence):
        SharedStudy("s", tmp_path, url, "minimize")


def test_optuna_reads_what_is_kept(tmp_path):
    """As optuna-dashboard does: with Optuna alone."""
    shared = share(tmp_path)
    shared.enqueue([{"x": 3}])
    shared.work(x)
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "journal.log"))
    study = optuna.load_study(study_name="s", storage=optuna.storages.JournalStorage(backend))
    assert (study.best_value, study.best_params) == (3, {"x": 3})
