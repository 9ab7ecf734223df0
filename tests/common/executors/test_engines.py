"""The same pieces on Dask, on submitit's jobs and on Ray."""

import os
import socket
from pathlib import Path

import engine_pieces
import pytest

from lightning_pz.common.errors import UserError
from lightning_pz.common.executors import Engine, open_executor, run_pieces
from tests.children import ROOT, child_environment

ENGINES = ["dask", "slurm:local", pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.slow])]


@pytest.fixture(scope="module", params=ENGINES)
def engine(request, tmp_path_factory):
    """Give the name of an engine and its executor of two workers, with these tests on the path of its workers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "tests"), child_environment()["PYTHONPATH"]]))
        folder = tmp_path_factory.mktemp("engine")
        with open_executor(Engine(request.param, workers=2), folder) as executor:
            yield request.param, executor, folder


def test_values_errors_and_dead_workers(engine):
    name, executor, folder = engine
    found = dict(run_pieces(executor, engine_pieces.square, [0, 3, 4, 5]))
    assert [found[number].value for number in (0, 3)] == [0, 25]
    with pytest.raises(UserError, match="three is too many"):
        found[1].get()
    assert "Unportable: 1 2" in str(found[2].error)
    ((_, where),) = run_pieces(executor, engine_pieces.describe, [None])
    assert (
        where.get()["threads"] == "1"
        and where.get()["folder"] == str(Path.cwd())
        and where.get()["process"] != os.getpid()
    )
    ((_, died),) = run_pieces(executor, engine_pieces.die, [None])
    with pytest.raises(UserError, match=r"died \(killed, or out of memory\?\).*the same command\s+resumes"):
        died.get()
    # What is left lets people find the output of a dead job, and nothing of those that succeeded.
    assert len(list(folder.rglob("*_log.err"))) == (name == "slurm:local")
    if name == "slurm:local":
        ((_, again),) = run_pieces(executor, engine_pieces.preempted, [str(folder)])
        assert again.get() == "resumed after a saved state"


@pytest.mark.slow
def test_workers_with_several_threads_are_refused(tmp_path):
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0") as cluster:
        opened = open_executor(Engine(f"dask:{cluster.scheduler_address}"), tmp_path)
        with pytest.raises(UserError, match=r"needs workers of one thread each.*--nthreads 1"):
            opened.__enter__()


def test_something_else_that_listens_is_no_scheduler(tmp_path, monkeypatch):
    monkeypatch.setattr("lightning_pz.common.executors.dask_cluster.PATIENCE", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        opened = open_executor(Engine(f"dask:tcp://127.0.0.1:{silent.getsockname()[1]}"), tmp_path)
        with pytest.raises(UserError, match="no Dask scheduler answers there"):
            opened.__enter__()
