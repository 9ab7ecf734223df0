"""Sharing a study between processes: no trial twice, the dead put back, the same seed the same search."""

import signal
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from lightning_pz.common.errors import UserError
from sweeps.optuna_study.study import Shared
from tests.sweeps.conftest import start

WORKER = """
import sys, time
from pathlib import Path
from sweeps.optuna_study.study import Shared
from optuna.trial import TrialState
folder, url, name = Path(sys.argv[1]), None if sys.argv[2] == "-" else sys.argv[2], sys.argv[3]
shared = Shared("s", folder, url, "minimize")
while not (folder / "go").exists():
    time.sleep(0.01)
while (trial := shared.claim()) is not None:
    with (folder / f"done-{name}").open("a") as file:
        file.write(f"{trial.number}\\n")
    time.sleep(0.02)
    shared.tell(trial, float(trial.number), TrialState.COMPLETE)
"""
DIES = """
import sys, time
from pathlib import Path
from sweeps.optuna_study.study import Shared
shared = Shared("s", Path(sys.argv[1]), None if sys.argv[2] == "-" else sys.argv[2], "minimize")
trial = shared.claim()
trial.suggest_int("x", 0, 100)
print(trial.number, flush=True)
time.sleep(600)
"""


def url_of(kind, folder):
    return None if kind == "journal" else f"sqlite:///{folder}/studies.db"


def share(folder, kind="journal"):
    return Shared("s", folder, url_of(kind, folder), "minimize")


@pytest.mark.parametrize("kind", ["journal", "database"])
def test_two_processes_never_take_the_same_trial(tmp_path, kind):
    shared = share(tmp_path, kind)
    shared.enqueue([{"x": number} for number in range(12)])
    url = url_of(kind, tmp_path) or "-"
    with start(tmp_path, url, "a", script=WORKER) as one, start(tmp_path, url, "b", script=WORKER) as other:
        (tmp_path / "go").touch()
        for worker in (one, other):
            assert worker.wait(120) == 0, worker.stderr.read()
    taken = [[int(line) for line in (tmp_path / f"done-{name}").read_text().split()] for name in "ab"]
    assert sorted(taken[0] + taken[1]) == list(range(12))
    assert all(taken), "both had some"
    assert [trial.value for trial in shared.trials(TrialState.COMPLETE)] == list(range(12))


@pytest.mark.parametrize("kind", ["journal", "database"])
def test_a_killed_process_loses_its_own_trial_only_and_that_waits_again(tmp_path, kind):
    shared = share(tmp_path, kind)
    shared.enqueue([{"x": 7}, {"x": 8}])
    with start(tmp_path, url_of(kind, tmp_path) or "-", script=DIES) as worker:
        assert worker.stdout.readline().strip() == "0"
        other = shared.claim()
        assert other.number == 1  # the living one's trial is not touched
        assert shared.claim() is None
        worker.send_signal(signal.SIGKILL)
    again = shared.claim()
    assert (again.number, again.suggest_int("x", 0, 100)) == (0, 7)
    assert shared.claim() is None  # once, not twice
    for trial in (other, again):
        shared.tell(trial, 0.0, TrialState.COMPLETE)
    assert len(shared.trials()) == 2
    assert not list((tmp_path / "locks").glob(".s-*"))


def test_trials_of_another_machine_are_left_alone(tmp_path):
    shared = share(tmp_path, "database")
    shared.enqueue([{"x": 1}])
    trial = shared.claim()
    trial.set_user_attr("owner", "elsewhere:/data")
    shared._let_go(trial)
    assert shared.claim() is None
    assert [t.state for t in shared.trials()] == [TrialState.RUNNING]


def test_points_are_queued_once_and_failed_ones_again(tmp_path):
    shared = share(tmp_path)
    points = [{"x": 1}, {"x": 2}]
    assert (shared.enqueue(points), share(tmp_path).enqueue(points)) == (2, 0)
    shared.tell(shared.claim(), None, TrialState.FAIL, "no luck")
    assert shared.enqueue([*points, {"x": 3}]) == 2
    assert [t.user_attrs.get("reason") for t in shared.trials(TrialState.FAIL)] == ["no luck"]


def test_put_back_waits_under_its_own_number(tmp_path):
    shared = share(tmp_path)
    shared.enqueue([{"x": 1}])
    shared.put_back(shared.claim())
    assert [t.state for t in shared.trials()] == [TrialState.WAITING]
    again = shared.claim()
    assert again.number == 0
    shared.tell(again, 1.0, TrialState.COMPLETE)


def search(folder, total, *, reopen):
    shared = share(folder)
    while (trial := shared.claim((total, 5))) is not None:
        x, y = trial.suggest_float("x", -5, 5), trial.suggest_categorical("y", ["a", "b"])
        shared.tell(trial, x**2 + (y == "a"), TrialState.COMPLETE)
        if reopen:
            shared = share(folder)
    return [trial.params for trial in shared.trials()]


def test_a_resumed_search_equals_a_straight_one(tmp_path):
    straight = search(tmp_path / "a", 16, reopen=False)
    assert len(straight) == 16 and len({str(params) for params in straight}) == 16
    assert search(tmp_path / "b", 16, reopen=True) == straight


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
        Shared("s", tmp_path, url, "minimize")


def test_optuna_reads_what_is_kept(tmp_path):
    """As optuna-dashboard does: with Optuna alone."""
    shared = share(tmp_path)
    shared.enqueue([{"x": 3}])
    trial = shared.claim()
    trial.suggest_int("x", 0, 9)
    shared.tell(trial, 1.5, TrialState.COMPLETE)
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "journal.log"))
    study = optuna.load_study(study_name="s", storage=optuna.storages.JournalStorage(backend))
    assert (study.best_value, study.best_params) == (1.5, {"x": 3})
