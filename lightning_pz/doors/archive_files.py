"""The files that archives of `ribs` are kept in: arrays by field name as NumPy's `.npz`, or the CSV of an `ArchiveDataFrame`.

Reading needs no `ribs` and runs no code of a file.
"""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from lightning_pz.common.errors import UserError

FIELDS, CENTROIDS, ARCHIVE_ABOUT = "archive.npz", "centroids.npy", "archive.json"
"""Files of an archive's folder."""
ARCHIVE_FORMAT = 1
_TABLE = "archive.csv"
_SAVE = 'np.savez("archive.npz", **archive.data()), or archive.data(return_type="pandas").to_csv("archive.csv")'


def read_solutions(path: Path) -> Float[np.ndarray, "policies params"]:
    """Return the solutions of an archive, (N, P) float32, from an `.npz`, a `.csv`, or a folder with `archive.npz` or `archive.csv`.

    Raises:
        UserError: No such file, another kind of file, no field `solution`, or solutions that are no finite vectors.
    """
    file = _file_of(path)
    try:
        found = _of_table(file) if file.suffix == ".csv" else _of_fields(file)
    except UserError:
        raise
    except Exception as error:  # a cut or altered file fails in as many ways as zip, NumPy and CSV have
        raise UserError(
            f"--archive {file} cannot be read ({type(error).__name__}: {error}): save it with {_SAVE}"
        ) from error
    if found.ndim != 2 or 0 in found.shape:
        raise UserError(
            f"--archive expects solutions as vectors of weights, a row for each policy, but those of {file} have the shape "
            f"{found.shape}: save an archive that holds policies, each as one flat vector"
        )
    with np.errstate(over="ignore"):
        solutions = found.astype(np.float32)
    if len(wrong := np.argwhere(~np.isfinite(solutions))):
        row, column = wrong[0].tolist()
        raise UserError(
            f"--archive expects finite weights, but in {file} weight {column} of solution {row} is {found[row, column]:g} "
            f"({len({row for row, _ in wrong.tolist()})} of {len(solutions)} solutions have such weights): leave those out"
        )
    return solutions


def read_about(folder: Path) -> dict[str, Any] | None:
    """Return the contents of `archive.json` in a folder; None if there is none, `UserError` if it is broken or newer."""
    path = folder / ARCHIVE_ABOUT
    if not path.is_file():
        return None
    try:
        about = dict(json.loads(path.read_text()))
        version = about["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no description of an archive: export the pool again") from error
    if version != ARCHIVE_FORMAT:
        raise UserError(
            f"{folder} is an archive of format {version}, but this version of lightning_pz reads format {ARCHIVE_FORMAT}: "
            "update lightning_pz, or export the pool again"
        )
    return about


def read_fields(file: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an `.npz` by name; a pickled one raises `ValueError`."""
    with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _file_of(path: Path) -> Path:
    """Return the file with the solutions."""
    if path.is_dir():
        found = [path / name for name in (FIELDS, _TABLE) if (path / name).is_file()]
        if not found:
            raise UserError(
                f"--archive expects a folder with {FIELDS} or {_TABLE}, but {path} has neither: save one with {_SAVE}"
            )
        return found[0]
    if not path.is_file():
        raise UserError(f"--archive expects a file or a folder, but there is none at {path}: save one with {_SAVE}")
    if path.suffix not in (".npz", ".csv"):
        raise UserError(f"--archive expects an .npz, a .csv or a folder, but got {path}: save the archive with {_SAVE}")
    return path


def _of_fields(file: Path) -> np.ndarray:
    with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
        if "solution" not in arrays.files:
            raise _no_solution(file, arrays.files)
        found = arrays["solution"]
    return found.astype(np.float64) if found.dtype.kind in "fiu" else np.array(found, dtype=np.float64)


def _of_table(file: Path) -> np.ndarray:
    with file.open(newline="", encoding="utf-8") as opened:
        lines = csv.reader(opened)
        header = next(lines, [])
        numbers = {int(name.split("_")[1]): i for i, name in enumerate(header) if re.fullmatch(r"solution_\d+", name)}
        if not numbers or sorted(numbers) != list(range(len(numbers))):
            raise _no_solution(file, header)
        places = [numbers[number] for number in range(len(numbers))]
        rows = [[float(line[place] or "nan") for place in places] for line in lines if line]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(places))


def _no_solution(file: Path, names: list[str]) -> UserError:
    shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
    return UserError(
        f"--archive expects the field solution, or in a CSV the columns solution_0, solution_1 and so on, but {file} has "
        f"{shown or 'nothing'}: save the archive with {_SAVE}"
    )
