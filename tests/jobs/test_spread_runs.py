"""Runs spread over workers: stopped by a file, refused where folders are not shared, and where locks do not hold."""

import os
import signal
import socket
import threading
import time
from pathlib import Path

import engine_pieces
import pytest

from lightning_pz.common.errors import UserError
from lightning_pz.common.executors import Engine
from lightning_pz.common.files import alone
from lightning_pz.jobs import spread_runs as spreading
from lightning_pz.jobs.spread_runs import spread_runs


def made(folder):
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.mark.parametrize("workers", [1, 2])
def test_results_and_steps_of_all_runs_arrive_and_an_error_comes_last(workers, tmp_path):
    kept, drawn = [], []
    place = lambda job: made(tmp_path / job[0])  # noqa: E731
    jobs = [("a", 5), ("b", 7), ("c", 9)]
    how = {"place": place, "keep": kept.append, "draw": drawn.append}
    spread_runs(engine_pieces.write_there, jobs, Engine(workers=workers), tmp_path, **how)
    assert sorted(kept) == jobs and drawn == sorted(drawn) and (workers == 2 or drawn[-1] == 21)
    kept.clear()
    with pytest.raises(UserError, match="thirteen"):
        spread_runs(engine_pieces.write_there, [("d", 13), *jobs], Engine(workers=workers), tmp_path, **how)
    assert sorted(kept) == (jobs if workers == 2 else [])
    assert not list(tmp_path.glob("*/.progress")) and not list(tmp_path.glob(".command*"))


def test_an_interrupted_command_stops_its_runs_by_a_file_and_they_save(tmp_path, capfd):
    folders = [made(tmp_path / name) for name in "ab"]

    def interrupt() -> None:
        while not all((folder / "mark").is_file() for folder in folders):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)  # as a cluster does to the command, and to it alone

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        spread_runs(
            engine_pieces.until_told, [str(folder) for folder in folders], Engine(workers=2), tmp_path,
            place=Path, keep=lambda result: pytest.fail(result), draw=None,
        )  # fmt: skip
    assert [(folder / "mark").read_text() for folder in folders] == ["saved", "saved"]
    assert "stopping the runs under way" in capfd.readouterr().err


def piece(tmp_path, **more):
    """Return a piece of a command whose stop file is there and whose lock is free."""
    own = made(tmp_path / "command")
    (own / "stop").touch()
    given = {"work": engine_pieces.write_there, "job": ("a", 3), "folder": made(tmp_path / "run"), "command": own}
    return spreading._Piece(**given | {"host": socket.gethostname(), "waits": True} | more)


def test_a_folder_that_a_worker_does_not_see_or_cannot_write(tmp_path, monkeypatch):
    host = socket.gethostname()
    with pytest.raises(
        UserError, match=rf"nowhere is not there on {host}, .*--logs a folder on a file system that all"
    ):
        spreading._run_piece(piece(tmp_path, folder=tmp_path / "nowhere"))

    def refuse(folder: Path) -> None:
        raise UserError(f"{folder} cannot be written (Permission denied)")

    monkeypatch.setattr(spreading, "check_writable", refuse)
    with pytest.raises(UserError, match=rf"the worker on {host} cannot write its results: .*run cannot be written"):
        spreading._run_piece(piece(tmp_path))


def test_locks_that_do_not_hold_between_hosts_are_noted(tmp_path):
    with alone(tmp_path / "command" / "here"):
        assert spreading._run_piece(piece(tmp_path, host="head")) == (("a", 3), 3, None)
    _, _, note = spreading._run_piece(piece(tmp_path, host="head"))
    assert note is not None and "does not keep locks between head and" in note
    assert spreading._run_piece(piece(tmp_path))[2] is None  # on the command's own host nothing is to be asked
    (tmp_path / "command" / "stop").unlink()
    assert spreading._lock_note(piece(tmp_path, host="head", command=tmp_path / "gone"), "node") is None


def test_a_run_that_another_process_has_is_waited_for_until_the_command_says_stop(tmp_path):
    waiting = piece(tmp_path)
    asked = []

    def look() -> None:
        asked.append(None)
        (waiting.command / "stop").write_text("stop")
        spreading._Watch(waiting).look()

    with alone(waiting.folder):
        with pytest.raises(UserError, match="another process is at work on"), alone(waiting.folder, wait=False):
            pass
        with pytest.raises(KeyboardInterrupt), alone(waiting.folder, wait=False, on_wait=look):
            pass
    assert len(asked) == 1
