"""A Ctrl-C waits for the end of a block, or for the place that lets it in; the second one does not."""

import os
import signal
import threading

import pytest

from lightning_pz.common.held_interrupts import held_interrupts
from lightning_pz.common.tracking.settings import Loggers
from lightning_pz.common.tracking.tracker import Tracker


@pytest.fixture(autouse=True)
def as_on_a_terminal():
    """Ctrl-C interrupts, also where the tests run in the background; what handles it is the same afterwards."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def press():
    os.kill(os.getpid(), signal.SIGINT)


def test_it_comes_at_the_end_of_the_block():
    done = []
    with pytest.raises(KeyboardInterrupt), held_interrupts():
        press()
        done.append("all of it")
    assert done


def test_it_comes_where_it_is_let_in():
    done = []
    with pytest.raises(KeyboardInterrupt), held_interrupts() as let_in:
        let_in()
        done.append(0)
        press()
        let_in()
        done.append(1)
    assert done == [0]


def test_the_second_one_comes_at_once():
    done = []
    with pytest.raises(KeyboardInterrupt), held_interrupts():
        press()
        done.append(0)
        press()
        done.append(1)
    assert done == [0]


def test_a_block_within_a_block_leaves_it_to_the_outer_one():
    done = []
    with pytest.raises(KeyboardInterrupt), held_interrupts():
        with held_interrupts():
            press()
        done.append("the rest of the outer block")
    assert done


def test_another_error_goes_first():
    with pytest.raises(ZeroDivisionError), held_interrupts():
        press()
        raise ZeroDivisionError


def test_where_it_is_ignored_it_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with held_interrupts() as let_in:
        press()
        let_in()
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_other_threads_hold_nothing():
    ended = []

    def work():
        with held_interrupts() as let_in:
            let_in()
        ended.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ended


def test_a_writer_is_interrupted_between_its_writes(tmp_path, monkeypatch):
    """The signal comes in the queue to the writer's thread, where it used to leave a waiting thread behind."""
    with Tracker.of(Loggers(), tmp_path) as tracker:
        queue = tracker._loggers[0].experiment._get_file_writer().event_writer._async_writer._byte_queue
        put, whole = queue.put, []

        def pressed(item):
            press()
            put(item)
            whole.append(item)

        monkeypatch.setattr(queue, "put", pressed)
        with pytest.raises(KeyboardInterrupt):
            tracker.log({"value": 1.0}, 1)
        monkeypatch.undo()
    assert len(whole) == 1
