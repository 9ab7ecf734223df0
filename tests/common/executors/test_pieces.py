"""Pieces in processes of this machine: values, errors as values, signals, dead workers."""

import importlib
import os
import signal
import sys
import time
from concurrent.futures import CancelledError
from functools import partial
from pathlib import Path

import engine_pieces
import pytest

from lightning_pz.common.errors import UserError
from lightning_pz.common.executors import Engine, open_executor, pieces, run_pieces
from lightning_pz.common.executors.failures import as_user_error
from lightning_pz.common.executors.home import Home, versions_here


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """Workers of a command on a terminal, which hears Ctrl-C, also where the tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with open_executor(Engine("local", workers=1), tmp_path_factory.mktemp("local")) as executor:
        yield executor
    signal.signal(signal.SIGINT, before)


def outcomes(executor, function, count):
    return dict(run_pieces(executor, function, list(range(count))))


def test_values_and_errors_are_the_same_here_and_in_a_pool(pool):
    here, there = outcomes(None, engine_pieces.square, 6), outcomes(pool, engine_pieces.square, 6)
    for found in (here, there):
        assert [found[number].value for number in (0, 1, 2, 5)] == [0, 1, 4, 25]
        with pytest.raises(UserError, match="three is too many"):
            found[3].get()
    assert isinstance(here[4].error, engine_pieces.Unportable)
    assert "Unportable: 1 2" in str(there[4].error) and "engine_pieces.py" in str(there[4].error)


def test_a_worker_has_one_thread_and_the_folder_of_the_command(pool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (found,) = outcomes(pool, engine_pieces.describe, 1).values()
    assert found.get()["threads"] == "1" and found.get()["folder"] == str(tmp_path)
    assert found.get()["process"] != os.getpid()


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_a_signal_ends_the_piece_and_not_the_worker(pool, name):
    ((_, outcome),) = run_pieces(pool, engine_pieces.signaled, [name])
    assert isinstance(outcome.error, KeyboardInterrupt)
    assert outcomes(pool, engine_pieces.square, 1)[0].get() == 0


def test_other_versions_on_a_worker_are_refused_with_both_named(pool, monkeypatch):
    mine = versions_here()
    monkeypatch.setattr(Home, "of_this_process", lambda: Home(str(Path.cwd()), mine | {"lightning_pz": "9.9 (abc)"}))
    (outcome,) = outcomes(pool, engine_pieces.square, 1).values()
    with pytest.raises(UserError) as refused:
        outcome.get()
    assert f"has lightning_pz {mine['lightning_pz']}, but the command runs 9.9 (abc): install the same" in str(
        refused.value
    )


def test_giving_up_tells_what_runs_and_drops_what_has_not_begun(pool, monkeypatch):
    monkeypatch.setattr(pieces, "GRACE", 0.5)
    told = []
    running = run_pieces(pool, time.sleep, [0.01, 1, 1, 1, 9], on_give_up=partial(told.append, "end"))
    assert next(running)[0] == 0
    running.close()
    assert told == ["end"]
    assert outcomes(pool, engine_pieces.square, 1)[0].get() == 0  # none of the long ones had begun


def test_a_dead_worker_is_a_sentence(tmp_path):
    with open_executor(Engine("local", workers=1), tmp_path) as executor:
        (outcome,) = outcomes(executor, engine_pieces.die, 1).values()
    with pytest.raises(UserError, match=r"a worker died \(killed, or out of memory\?\): the same command resumes"):
        outcome.get()


def test_a_cluster_that_lacks_the_package_and_one_that_is_gone_are_sentences():
    lost = RuntimeError("Error during deserialization of the task graph")
    lost.__cause__ = ModuleNotFoundError("No module named 'lightning_pz'", name="lightning_pz.common")
    sentence = "cannot be imported by a worker, or by the scheduler: install the same version of lightning_pz there"
    assert sentence in str(as_user_error(lost))
    assert "the cluster is gone" in str(as_user_error(CancelledError()))
    own = ModuleNotFoundError("No module named 'mine'", name="mine")
    assert as_user_error(own) is own


def test_a_later_pool_knows_today_s_environment_and_modules_as_they_are_now(tmp_path, monkeypatch):
    """Workers are forked from a server that began with the first pool; nothing of that day may show."""
    written = tmp_path / "edited_between_pools.py"
    monkeypatch.syspath_prepend(tmp_path)
    for word in ("before", "after"):
        monkeypatch.setenv("WORD_FOR_TESTS", word)
        written.write_text(f"import os\n\ndef tell(_):\n    return '{word}', os.environ['WORD_FOR_TESTS']\n")
        importlib.invalidate_caches()
        sys.modules.pop("edited_between_pools", None)
        tell = importlib.import_module("edited_between_pools").tell
        with open_executor(Engine("local", workers=1), tmp_path) as executor:
            ((_, told),) = run_pieces(executor, tell, [None])
        assert told.get() == (word, word)
