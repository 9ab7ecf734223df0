"""Long work says how far it is: a bar in a terminal, a line now and then in a file, nothing where it is short."""

import io

import pytest

from lightning_pz.common import progress
from lightning_pz.common.progress import ProgressBar


@pytest.fixture
def clock(monkeypatch):
    """Give a list whose last number is what time it is."""
    times = [1000.0]
    monkeypatch.setattr("tqdm.std.time", lambda: times[-1])
    monkeypatch.setattr(progress, "monotonic", lambda: times[-1])
    monkeypatch.setattr(ProgressBar, "monitor_interval", 0)  # its thread would take the real time
    return times


def work(clock, seconds, **more):
    """Return what is written of six pieces of work of so many seconds each."""
    written = io.StringIO()
    with ProgressBar(total=6_000_000, desc="growth", unit="step", unit_scale=True, file=written, **more) as bar:
        for _ in range(6):
            clock.append(clock[-1] + seconds)
            bar.set_postfix(rounds=1)  # as between two rounds of a growth
            bar.update(1_000_000)
    return written.getvalue()


def test_a_file_gets_a_line_a_minute_and_nothing_of_short_work(clock, monkeypatch):
    monkeypatch.setattr(progress, "is_terminal", lambda: False)
    assert work(clock, 5.0) == ""
    lines = [line.split(",")[0] for line in work(clock, 40.0).splitlines()]
    assert lines == [
        f"growth: {done}.00M of 6.00M steps after 0{at}" for done, at in ((1, "1:20"), (3, "2:40"), (5, "4:00"))
    ]
    assert work(clock, 40.0, progress=False) == ""


def test_a_terminal_gets_a_bar(clock, monkeypatch):
    monkeypatch.setattr(progress, "is_terminal", lambda: True)
    shown = work(clock, 1.0)
    assert shown.count("\n") == 1 and "growth: 100%|" in shown


@pytest.mark.parametrize(("unit", "many"), [("policy", "policies"), ("episode", "episodes")])
def test_units_are_in_the_plural(clock, unit, many, monkeypatch):
    monkeypatch.setattr(progress, "is_terminal", lambda: False)
    written = io.StringIO()
    for _ in ProgressBar(range(3), unit=unit, file=written):
        clock.append(clock[-1] + 90)
    assert written.getvalue().startswith(f"1 of 3 {many} after 01:30, 0")
