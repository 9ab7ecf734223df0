"""The same runs of `finetune` on every engine, to the last bit, also after a worker was killed in the middle."""

import csv
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_pz import finetune
from lightning_pz.common.errors import UserError
from tests.said import reused

TINY = [
    "--seeds", "5", "--budget", "1200", "--starts", "2", "--pgpe.population", "4", "--evaluation_episodes", "2",
    "--test_episodes", "4", "--evaluate_every", "400",
]  # fmt: skip


def digests(logs: Path) -> dict[str, tuple[str, str]]:
    """Return SHA-256 of curve, less its seconds, and of policy of each finished run, by name."""
    found = {}
    for folder in (path.parent for path in logs.rglob("summary.json")):
        with (folder / "curve.csv").open() as file:
            rows = [{**row, "seconds": ""} for row in csv.DictReader(file)]
        curve, policy = repr(rows).encode(), (folder / "policy.npz").read_bytes()
        found[folder.name] = (hashlib.sha256(curve).hexdigest(), hashlib.sha256(policy).hexdigest())
    return found


@pytest.fixture(scope="session")
def one_by_one(checkpoint, tmp_path_factory):
    """Return the digests of five runs in this process."""
    logs = tmp_path_factory.mktemp("one")
    finetune.main(["--checkpoint", checkpoint, "--logs", str(logs), *TINY, "--workers", "1"])
    found = digests(logs)
    assert len(set(found.values())) == 5
    return found


@pytest.mark.slow
@pytest.mark.parametrize("on", ["local", "dask", "slurm:local", pytest.param("ray", marks=pytest.mark.ray)])
def test_runs_are_equal_on_every_engine(on, one_by_one, checkpoint, tmp_path, capsys):
    # Each job of Slurm is a process that imports everything, so there are fewer.
    count = 2 if on == "slurm:local" else 5
    command = [
        "--checkpoint",
        checkpoint,
        "--logs",
        str(tmp_path),
        *TINY,
        "--seeds",
        str(count),
        "--workers",
        "2",
        "--on",
        on,
    ]
    finetune.main([*command, "--slurm.time", "30m"])
    assert digests(tmp_path).items() <= one_by_one.items() and len(digests(tmp_path)) == count
    capsys.readouterr()
    finetune.main(command)
    assert reused(capsys.readouterr().out) == str(count)


@pytest.mark.slow
@pytest.mark.parametrize("on", ["local", "dask"])
def test_after_a_worker_dies_the_same_command_ends_at_the_same_result(on, checkpoint, tmp_path, monkeypatch):
    (tmp_path / "deadly_task.py").write_text(
        "import os, pathlib, signal\n"
        "calls = 0\n"
        "def left(t):\n"
        "    global calls\n"
        "    calls += 1\n"
        "    dead = pathlib.Path(__file__).with_name('dead')\n"
        "    if calls == 350 and not dead.exists():\n"
        "        dead.touch()\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return -t.after.positions[:, 0]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    own = ["--task", "deadly_task:left", "--seeds", "2", "--checkpoint_seconds", "1e-9"]
    command = ["--checkpoint", checkpoint, *TINY, *own, "--logs", str(tmp_path / "killed")]
    (tmp_path / "dead").touch()  # this process stays alive
    finetune.main(["--checkpoint", checkpoint, *TINY, *own, "--logs", str(tmp_path / "straight"), "--workers", "1"])
    (tmp_path / "dead").unlink()
    if on == "local":
        with pytest.raises(UserError, match=r"a worker died \(killed, or out of memory\?\): the same command resumes"):
            finetune.main([*command, "--workers", "2"])
        assert list(tmp_path.glob("killed/**/state.pt")) and len(digests(tmp_path / "killed")) < 2
    # Dask hands the run of a dead worker to the next one by itself.
    finetune.main([*command, "--workers", "2", "--on", on])
    assert (tmp_path / "dead").is_file() and len(digests(tmp_path / "straight")) == 2
    assert digests(tmp_path / "killed") == digests(tmp_path / "straight")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--on", "dusk"], r"--on expects local, dask, .* but got 'dusk'\. Did you mean 'dask'"),
        (
            ["--on", "dask:tcp://127.0.0.1:9"],
            r"--on dask:tcp://127\.0\.0\.1:9: nothing answers at 127\.0\.0\.1, port 9",
        ),
        (["--on", "ray:head"], "--on expects an address with a port, such as ray:auto"),
        (["--on", "slurm"], "--on slurm needs Slurm's commands, but there is no sbatch"),
        (["--slurm.time", "soon"], "--slurm.time expects minutes, hours or days"),
        (["--workers", "0"], "--workers expects at least 1"),
    ],
)
def test_engines_that_cannot_be_had_are_refused_before_anything_is_written(words, sentence, checkpoint, tmp_path):
    with pytest.raises(UserError, match=sentence):
        finetune.main(["--checkpoint", checkpoint, "--logs", str(tmp_path / "logs"), *words])
    assert not (tmp_path / "logs").exists()


def test_the_real_command_refuses_an_engine_with_exit_code_2(checkpoint):
    words = [
        sys.executable,
        "-m",
        "lightning_pz.finetune",
        "--checkpoint",
        checkpoint,
        "--on",
        "dask:tcp://127.0.0.1:9",
    ]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: --on dask:tcp://127.0.0.1:9: nothing answers")
