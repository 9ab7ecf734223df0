"""One row for each finished run of the few-episode study, in a CSV file that is small enough to keep.

A run whose key is in the file is never repeated, on whatever machine: the key is a digest of the settings that decide the
result, so that the file that comes with the package counts as much as the one in the folder of logs.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lightning_pz.common.errors import UserError
from lightning_pz.common.files import write_text

SHIPPED = Path(__file__).parent / "runs.csv"
_HEAD = ("key", "env", "task", "contender", "seed", "episodes", "env_steps", "end")


@dataclass(frozen=True)
class RunRow:
    """A finished run."""

    key: str
    env: str
    task: str
    contender: str
    seed: int
    episodes: int  # that it took in all
    env_steps: int
    end: float  # return of its last answer
    answers: dict[int, float]  # return by episode count


def read_ledger(path: Path) -> list[RunRow]:
    """Read a ledger; none if there is no file. Raises `UserError` if it is none."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        return [_row(row) for row in rows]
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} is no file of runs ({type(error).__name__}: {error}): delete it, or mend the line"
        ) from error


def write_ledger(path: Path, rows: Iterable[RunRow]) -> None:
    """Write rows in order of environment, task, contender and seed, so that equal runs are an equal file."""
    ordered = sorted(rows, key=lambda row: (row.env, row.task, row.contender, row.seed, row.episodes, row.key))
    counts = sorted({count for row in ordered for count in row.answers})
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*_HEAD, *counts])
    for row in ordered:
        values = [_digits(row.answers.get(count)) for count in counts]
        own = [row.key, row.env, row.task, row.contender, row.seed, row.episodes, row.env_steps, _digits(row.end)]
        writer.writerow([*own, *values])
    write_text(path, file.getvalue())


def row_of_run(folder: Path, key: str, env: str, task: str, contender: str, seed: int) -> RunRow:
    """Read the answers that a finished run measured."""
    with (folder / "answers.csv").open(newline="") as file:
        *answers, last = list(csv.DictReader(file))
    found = {int(row["episodes"]): float(row["return"]) for row in answers}
    end = int(last["episodes"]), int(last["env_steps"]), float(last["return"])
    return RunRow(key, env, task, contender, seed, *end, found)


def longest(rows: Sequence[RunRow]) -> list[RunRow]:
    """Return one run for each environment, task, contender and seed: the one with the most answers."""
    best: dict[tuple[str, str, str, int], RunRow] = {}
    for row in rows:
        place = (row.env, row.task, row.contender, row.seed)
        if place not in best or len(row.answers) > len(best[place].answers):
            best[place] = row
    return list(best.values())


def _digits(value: float | None) -> str:
    return "" if value is None or not np.isfinite(value) else f"{value:.6g}"


def _row(row: dict[str, str]) -> RunRow:
    answers = {int(key): float(value) for key, value in row.items() if key.isdigit() and value}
    key, env, task, contender = (row[name] for name in _HEAD[:4])
    counts = int(row["seed"]), int(row["episodes"]), int(row["env_steps"])
    return RunRow(key, env, task, contender, *counts, float(row["end"] or "nan"), answers)
