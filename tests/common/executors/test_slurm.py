"""What reaches Slurm's own commands, by stand-ins that run each job as a process."""

import sys
from pathlib import Path

import engine_pieces
import pytest

from lightning_pz.common.errors import UserError
from lightning_pz.common.executors import Engine, SlurmSettings, open_executor, run_pieces


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Put commands of Slurm on the path; return the folder in which they note their calls."""
    place = tmp_path / "slurm's"
    place.mkdir()
    script = Path(__file__).with_name("fake_slurm.py")
    for name in ("sbatch", "srun", "sacct", "scontrol", "scancel"):
        (place / name).write_text(f'#!/bin/sh\nexec {sys.executable} {script} {name} "$@"\n')
        (place / name).chmod(0o755)
    monkeypatch.setenv("FAKE_SLURM", str(place))
    monkeypatch.setenv("PATH", str(place), prepend=":")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]), prepend=":")
    return place


@pytest.mark.slow
def test_pieces_are_one_array_job_with_what_the_settings_ask(slurm, tmp_path):
    asked = SlurmSettings("cpu", "4h", "3GB", account="mine", qos="low", constraint="avx2")
    with open_executor(Engine("slurm", 2, asked), tmp_path) as executor:
        found = dict(run_pieces(executor, engine_pieces.square, [5, 3, 6]))
    assert [found[0].value, found[2].value] == [25, 36]
    with pytest.raises(UserError, match="three is too many"):
        found[1].get()
    calls = (slurm / "calls").read_text().splitlines()
    assert len([call for call in calls if call.startswith("sbatch")]) == 1
    lines = {line.removeprefix("#SBATCH --") for line in (slurm / "batch.sh").read_text().splitlines()}
    assert lines >= {
        "array=0-2%2", "partition=cpu", "time=240", "mem=3GB", "account=mine", "qos=low", "constraint=avx2",
        "cpus-per-task=1", "job-name=lightning_pz", "open-mode=append", "signal=USR2@90",
    }  # fmt: skip
    assert not list((tmp_path / "slurm").glob("77_*_result.pkl"))


@pytest.mark.slow
def test_a_preempted_job_saves_and_is_queued_again(slurm, tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    with open_executor(Engine("slurm"), tmp_path) as executor:
        found = dict(run_pieces(executor, engine_pieces.preempted, [str(tmp_path / name) for name in "ab"]))
    assert [found[number].get() for number in (0, 1)] == ["resumed after a saved state"] * 2
    calls = (slurm / "calls").read_text()
    assert "scontrol requeue 77_0\n" in calls and "scontrol requeue 77_1\n" in calls


def test_what_sbatch_says_is_told(slurm, tmp_path):
    (slurm / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: cpo' >&2\nexit 1\n")
    with open_executor(Engine("slurm", slurm=SlurmSettings("cpo")), tmp_path) as executor:
        ((_, outcome),) = run_pieces(executor, engine_pieces.square, [1])
    with pytest.raises(UserError, match=r"Slurm refuses the jobs: .*invalid partition specified: cpo"):
        outcome.get()
