"""What names an engine, and what is refused before one is opened."""

import socket

import pytest

from lightning_pz.common.errors import UserError
from lightning_pz.common.executors import Engine, SlurmSettings, check_engine


@pytest.mark.parametrize(
    ("on", "kind", "address", "is_one"),
    [
        ("local", "local", "", True),
        ("dask", "dask", "", True),
        ("dask:tcp://head:8786", "dask", "tcp://head:8786", False),
        ("slurm", "slurm", "", False),
        ("slurm:local", "slurm", "local", True),
        ("ray", "ray", "", True),
        ("ray:auto", "ray", "auto", False),
    ],
)
def test_engines_and_their_addresses(on, kind, address, is_one):
    engine = Engine(on)
    assert (engine.kind, engine.address, engine.is_one_machine) == (kind, address, is_one)


@pytest.mark.parametrize(
    ("on", "sentence"),
    [
        ("dusk", r"but got 'dusk'\. Did you mean 'dask'"),
        ("local:8", "--on expects local, dask, .*'local:8'"),
        ("slurm:cpu", "'slurm:cpu'"),
        ("dask:", "'dask:'"),
        ("", "''"),
    ],
)
def test_engines_that_there_are_not(on, sentence):
    with pytest.raises(UserError, match=sentence):
        Engine(on)


def test_what_slurm_is_asked():
    assert [SlurmSettings(time=time).minutes for time in ("30m", "4h", "2d")] == [30, 240, 2880]
    assert SlurmSettings(memory="1.5GB").gigabytes == 1.5 and SlurmSettings().gigabytes is None
    with pytest.raises(UserError, match=r"--slurm\.time expects minutes, hours or days"):
        SlurmSettings(time="4 hours")
    with pytest.raises(UserError, match=r"--slurm\.memory expects gigabytes"):
        SlurmSettings(memory="4000")
    with pytest.raises(UserError, match="--workers expects at least 1"):
        Engine("dask", workers=0)


@pytest.mark.parametrize("kind", ["dask", "slurm", "ray"])
def test_a_missing_extra_is_a_sentence(kind, monkeypatch):
    monkeypatch.setattr("lightning_pz.common.checks.is_installed", lambda module: False)
    with pytest.raises(UserError, match=rf"--on {kind} needs the package.*pip install 'lightning_pz\[{kind}\]'"):
        check_engine(Engine(kind))


@pytest.mark.parametrize(
    "on", ["dask:tcp://127.0.0.1:{}", "dask:127.0.0.1:{}", "ray:127.0.0.1:{}", "ray:ray://[::1]:{}"]
)
def test_nothing_that_answers_is_a_sentence(on):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        on = on.format(closed.getsockname()[1])
    with pytest.raises(
        UserError, match=r"nothing answers at (127\.0\.0\.1|::1), port \d+ .*: start the (scheduler|cluster) there"
    ):
        check_engine(Engine(on))


def test_an_address_without_a_port_and_no_slurm_here(monkeypatch):
    with pytest.raises(
        UserError, match=r"--on expects an address with a port, such as dask:tcp://head:8786, but got 'dask:head'"
    ):
        check_engine(Engine("dask:head"))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match=r"there is no sbatch and no srun and no sacct on this machine.*slurm:local"):
        check_engine(Engine("slurm"))
