"""One row for each finished run of the few-episode study, in a CSV file that is small enough to keep.

A run whose key is in the file is never repeated, on whatever machine: the key is a digest of the settings that decide the
result, so that the file that comes with the package counts as much as the one in the folder of logs.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_pz.common.errors import UserError
from lightning_pz.common.files import alone, write_text

_HEAD = ("key", "env", "task", "contender", "seed", "episodes", "env_steps", "end", "cpu_seconds")


_STUDIES = ("few_episodes", "reuse", "pretraining")


def shipped(study: str) -> Path:
    """Return where a study's rows lie that come with the package."""
    return Path(__file__).parent / f"{study}.csv"


def all_shipped() -> Iterator[RunRow]:
    """Yield the rows of all studies that come with the package, since a run of one may be wanted by another."""
    for study in _STUDIES:
        yield from read_ledger(shipped(study))


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
    cpu_seconds: float | None = None  # of its generations, without evaluations; None where it was not measured


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
        own = [
            row.key,
            row.env,
            row.task,
            row.contender,
            row.seed,
            row.episodes,
            row.env_steps,
            _digits(row.end),
            _digits(row.cpu_seconds),
        ]
        writer.writerow([*own, *values])
    write_text(path, file.getvalue())


def add_to_ledger(path: Path, rows: Iterable[RunRow]) -> None:
    """Add rows to a ledger, in place of those with their keys; what another process has added meanwhile stays."""
    with alone(path):
        known = {row.key: row for row in read_ledger(path)}
        write_ledger(path, (known | {row.key: row for row in rows}).values())


def row_of_run(folder: Path, key: str, env: str, task: str, contender: str, seed: int) -> RunRow:
    """Read the answers that a finished run measured."""
    with (folder / "answers.csv").open(newline="") as file:
        *answers, last = list(csv.DictReader(file))
    summary = json.loads((folder / "summary.json").read_text())
    by = next(name for name in ("episodes", "steps") if name in last)
    found = {int(row[by]): float(row["return"]) for row in answers}
    # Runs of earlier versions did not keep all that is asked for here.
    end = int(summary.get("episodes", last[by])), int(last["env_steps"]), float(last["return"])
    return RunRow(key, env, task, contender, seed, *end, found, summary.get("cpu_seconds"))


def longest(rows: Sequence[RunRow]) -> list[RunRow]:
    """Return one run for each environment, task, contender and seed: the one with the most answers."""
    best: dict[tuple[str, str, str, int], RunRow] = {}
    for row in rows:
        place = (row.env, row.task, row.contender, row.seed)
        if place not in best or len(row.answers) > len(best[place].answers):
            best[place] = row
    return list(best.values())


def _digits(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _row(row: dict[str, str]) -> RunRow:
    answers = {int(key): float(value) for key, value in row.items() if key.isdigit() and value}
    key, env, task, contender = (row[name] for name in _HEAD[:4])
    counts = int(row["seed"]), int(row["episodes"]), int(row["env_steps"])
    return RunRow(key, env, task, contender, *counts, float(row["end"] or "nan"), answers, _seconds(row))


def _seconds(row: dict[str, str]) -> float | None:
    # Rows of earlier versions have no such column.
    return float(row["cpu_seconds"]) if row.get("cpu_seconds") else None
