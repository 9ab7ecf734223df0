"""Slurm's commands for a test, as far as submitit uses them: `python fake_slurm.py COMMAND WORDS`; each task is a process.

`sbatch` keeps the batch file beside its log of calls in $FAKE_SLURM; `scontrol requeue` begins a task anew once it has ended.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(os.environ["FAKE_SLURM"])
JOB = "77"


def begin(number: str) -> None:
    """Run the batch file of one task of the array."""
    own = {"SLURM_ARRAY_JOB_ID": JOB, "SLURM_ARRAY_TASK_ID": number, "SLURM_JOB_ID": f"{int(JOB) + int(number)}"}
    more = {
        "SLURM_NTASKS": "1",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_NODEID": "0",
        "SLURM_JOB_NUM_NODES": "1",
    }
    subprocess.Popen(
        ["bash", str(HERE / "batch.sh")],
        env=os.environ | own | more,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,  # a pipe that is held open would keep sbatch's caller waiting
    )


def main(name: str, words: list[str]) -> None:
    """Do what a command of Slurm does."""
    with (HERE / "calls").open("a") as log:
        log.write(f"{name} {' '.join(words)}\n")
    if name == "sbatch":
        text = Path(words[-1]).read_text()
        (HERE / "batch.sh").write_text(text)
        last = re.search(r"--array=0-(\d+)", text)
        assert last is not None
        for number in range(int(last[1]) + 1):
            begin(str(number))
        print(f"Submitted batch job {JOB}")
    elif name == "srun":
        values = {"%A": JOB, "%a": os.environ["SLURM_ARRAY_TASK_ID"], "%t": "0"}
        files, command = {}, words
        while command[0].startswith("--"):
            option = command[0].partition("=")[0]
            if option in ("--output", "--error"):
                path = command.pop(1)
                for mark, value in values.items():
                    path = path.replace(mark, value)
                files[option] = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
            command = command[1:]
        subprocess.run(command, stdout=files.get("--output"), stderr=files.get("--error"))
    elif name == "scontrol":
        if os.fork() == 0:
            time.sleep(1)
            begin(words[-1].partition("_")[2])
    elif name == "sacct":
        print("JobID|State|NodeList")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
