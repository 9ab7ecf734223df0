"""Studies on real servers: workers of a PostgreSQL and of Optuna's gRPC proxy, killed in the middle; addresses that are wrong."""

import signal
import socket

import pytest
from optuna.trial import TrialState

from lightning_pz.common.errors import UserError
from sweeps.__main__ import main
from sweeps.optuna_study import storages
from sweeps.optuna_study.study import SharedStudy
from tests.sweeps.conftest import start
from tests.sweeps.optuna_study.servers import free_port, postgres, postgres_binaries, proxy

WORKER = """
import sys, time
from pathlib import Path
from sweeps.optuna_study import storages
from sweeps.optuna_study.study import SharedStudy
storages.HEARTBEAT_SECONDS, storages.GRACE_SECONDS = 1, 6
shared = SharedStudy("s", Path(sys.argv[1]), sys.argv[2], "minimize")
def objective(trial):
    print("begins", trial.number, flush=True)
    x = float(trial.suggest_int("x", 0, 100))
    trial.report(x, 1)
    time.sleep(0.4)
    return x
shared.work(objective)
"""
POINTS = list(range(10, 18))


def x(trial):
    return float(trial.suggest_int("x", 0, 100))


@pytest.fixture
def url(request, tmp_path):
    if request.param == "proxy":
        pytest.importorskip("grpc")
        with proxy(f"sqlite:///{tmp_path}/studies.db") as found:
            yield found
    elif postgres_binaries() is None:
        # No Python package brings it; machines for continuous integration have it, and the proxy is tested everywhere.
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    else:
        with postgres() as found:
            yield found


@pytest.mark.slow
@pytest.mark.parametrize("url", ["postgres", "proxy"], indirect=True)
def test_of_two_workers_one_is_killed_and_no_trial_is_lost_or_done_twice(url, tmp_path, monkeypatch):
    monkeypatch.setattr(storages, "HEARTBEAT_SECONDS", 1)
    monkeypatch.setattr(storages, "GRACE_SECONDS", 6)
    shared = SharedStudy("s", tmp_path, url, "minimize")
    assert shared.enqueue([{"x": point} for point in POINTS]) == len(POINTS)
    with start(tmp_path, url, script=WORKER) as one, start(tmp_path, url, script=WORKER) as other:
        lost = int(one.stdout.readline().split()[1])
        one.send_signal(signal.SIGKILL)
        assert other.wait(120) == 0, other.stderr.read()
    (running,) = shared.trials(TrialState.RUNNING)
    assert running.number == lost
    while shared.wait_for_others(every=0.2):  # as the command that started the workers does
        shared.work(x)
    trials = shared.trials()
    assert [(trial.state, trial.value) for trial in trials] == [(TrialState.COMPLETE, point) for point in POINTS]
    # The lost one was begun again, with what it had reported; every other one ran once.
    assert len(shared.study.trials) == len(POINTS) + 1 and not shared.take(x)
    assert [trial.number for trial in trials].count(lost) == 0
    again = SharedStudy("s", tmp_path, url, "minimize")
    assert again.enqueue([{"x": point} for point in POINTS]) == 0


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--on", "dusk"], "--on expects local, dask, .* but got 'dusk'. Did you mean 'dask'"),
        (["--on", "slurm"], "a journal file is for one.* --storage postgresql://"),
        (["--on", "dask:tcp://head:8786", "--storage", "sqlite:///x.db"], "an SQLite file is for one"),
        (["--storage", "grpc://head"], "expects grpc://host:port"),
        (["--storage", "grpc://localhost:{closed}"], "nothing answers at localhost, port"),
        (["--storage", "postgresql://localhost:{closed}/x"], "nothing answers at localhost, port"),
        (["--storage", "postgresql://localhost:many/x"], "URL of a database"),
    ],
)
def test_mistakes_about_where_are_refused(words, sentence, tmp_path):
    port = free_port()
    words = [word.format(closed=port) for word in words]
    with pytest.raises(UserError, match=sentence):
        main(["latent_dim", "--env", "mountaincar", "--logs", str(tmp_path / "logs"), *words])
    assert not (tmp_path / "logs").exists()


def test_what_listens_but_is_no_proxy_is_refused_in_time(tmp_path, monkeypatch):
    pytest.importorskip("grpc")
    monkeypatch.setattr(storages, "ANSWER_SECONDS", 0.5)
    with socket.socket() as silent, pytest.raises(UserError, match="gRPC proxy"):
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        storages.open_storage(tmp_path, f"grpc://127.0.0.1:{silent.getsockname()[1]}")


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_a_trial_whose_process_died_before_its_first_heartbeat_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(storages, "HEARTBEAT_SECONDS", 1)
    monkeypatch.setattr(storages, "GRACE_SECONDS", 1)
    shared = SharedStudy("s", tmp_path, f"sqlite:///{tmp_path}/studies.db", "minimize")
    shared.enqueue([{"x": 3}])
    lost = shared.study.ask()  # as by a process that is killed here
    assert shared.trials(TrialState.RUNNING)
    assert shared.wait_for_others(every=0.2)
    shared.work(x)
    (trial,) = shared.trials()
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 3) and trial.number != lost.number
