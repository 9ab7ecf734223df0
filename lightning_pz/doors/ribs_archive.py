"""A grown pool as a `CVTArchive` of `ribs`, in a folder of arrays and plain data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from threadpoolctl import threadpool_limits

from lightning_pz.common.checks import check_extra
from lightning_pz.common.errors import UserError, nearest
from lightning_pz.common.files import new_folder, write_text
from lightning_pz.common.tables import Table, number_form
from lightning_pz.common.version import __version__
from lightning_pz.doors.archive_figures import heat_map, save_heat_map
from lightning_pz.doors.archive_files import ARCHIVE_ABOUT, ARCHIVE_FORMAT, CENTROIDS, FIELDS, read_about, read_fields
from lightning_pz.doors.archive_settings import RIBS_PACKAGES, ArchiveSettings
from lightning_pz.doors.outcome_axes import OutcomeAxes, axis_label, choose_axes
from lightning_pz.envs.specs import EnvSpec, env_words
from lightning_pz.policy import Layout, PolicyNetwork
from lightning_pz.policy.network import STATISTICS
from lightning_pz.pool.store import Pool
from lightning_pz.pool.unplayed import unplayed

_SAMPLES = 20
"""Points for each cell, drawn uniformly in the ranges, whose clusters are the cells."""


@dataclass(frozen=True)
class TaskArchive:
    """An archive whose objective is the return at one task, and whose solutions are rows of the pool, (n, 1)."""

    task: str
    archive: Any  # a `CVTArchive`
    offset: float  # the lowest return of the pool, from which the QD score counts


def write_archive(pool: Pool, folder: Path, settings: ArchiveSettings) -> tuple[OutcomeAxes, list[TaskArchive]]:
    """Write a new folder with the archive of a grown pool, its scores on all tasks, and a heat map of each.

    The objective is the return in the episode of the growth in which a policy was found. Heat maps need one or two axes.

    Raises:
        UserError: A pool without episodes, an unknown axis or task, a package that is missing, or a folder that is there.
    """
    check_extra(RIBS_PACKAGES, "qd", "--pool ... --to FOLDER")
    if "outcomes" not in pool.arrays:
        raise UserError(
            f"--pool {pool.folder} {unplayed(pool.meta)}, so it has no outcomes to sort them by: give a grown pool "
            "(python -m lightning_pz.collect --recipe grown)"
        )
    tasks = pool.meta["growth"]["tasks"]
    task = tasks[0] if settings.task is None else settings.task
    if task not in tasks:
        raise UserError(
            f"--task expects a task whose returns the pool holds ({', '.join(tasks)}), but got {task!r}."
            + nearest(task, tasks)
        )
    axes = choose_axes(pool, settings.axes)
    centroids = _centroids(axes.ranges, settings)
    found = [_of_task(pool, name, axes, centroids) for name in tasks]
    chosen = found[tasks.index(task)]
    elites = chosen.archive.data()
    rows = elites["row"].astype(np.int64)
    with new_folder(folder, 4 * len(rows) * pool.layout.num_params) as temporary:
        write_fields(temporary / FIELDS, elites | {"solution": pool.params(rows).numpy()})
        np.save(temporary / CENTROIDS, centroids, allow_pickle=False)
        write_text(temporary / ARCHIVE_ABOUT, json.dumps(_about(pool, axes, chosen, settings), indent=2) + "\n")
        write_text(temporary / "scores.csv", scores(found).csv())
        if len(axes.names) <= 2:
            for one in found:
                save_heat_map(
                    heat_map(one.archive, [*map(axis_label, axes.names)], _title(pool, one)), temporary, one.task
                )
    return axes, found


def open_archive(folder: str | Path) -> Any:
    """Return the `CVTArchive` that `export --pool` wrote into a folder: weights as solutions, and rows of the pool as `row`.

    Raises `UserError` if there is none, a file is missing or broken, or `ribs` is not installed.
    """
    check_extra("ribs", "qd", "open_archive")
    about = _about_of(Path(folder))
    try:
        fields = read_fields(Path(folder) / FIELDS)
        centroids = np.load(Path(folder) / CENTROIDS, allow_pickle=False)
        given = {name: fields[name] for name in ("solution", "objective", "measures", "row")}
        return _archive(given, centroids, about["ranges"], about["qd_score_offset"])
    except Exception as error:  # a cut or altered file fails in as many ways as zip, NumPy and ribs have
        raise UserError(
            f"the archive in {folder} cannot be opened ({type(error).__name__}: {error}): export the pool again"
        ) from error


def archive_network(folder: str | Path) -> PolicyNetwork:
    """Return the common part of the policies in an archive's folder, which acts with its solutions; see `PolicyNetwork`."""
    about = _about_of(Path(folder))
    return PolicyNetwork(Layout.from_dict(about["layout"]), *(torch.tensor(about[name]) for name in STATISTICS))


def scores(found: Sequence[TaskArchive]) -> Table:
    """Return QD score, coverage and returns of the cells' best policies, a row for each task."""
    header = ["task", "QD score", "counted from", "coverage", "cells", "best", "mean of cells"]
    rows: list[list[Any]] = []
    for one in found:
        stats = one.archive.stats
        numbers = (stats.qd_score, one.offset, stats.coverage, stats.obj_max, stats.obj_mean)
        qd_score, offset, coverage, best, mean = map(float, numbers)
        rows.append([one.task, qd_score, offset, coverage, int(stats.num_elites), best, mean])
    returns = ("QD score", "counted from", "best", "mean of cells")
    form = number_form(min(max(abs(row[header.index(name)]) for row in rows) for name in returns))
    return Table(header, rows, {**dict.fromkeys(returns, form), "coverage": ".1%"})


def write_fields(path: Path, fields: dict[str, np.ndarray]) -> None:
    """Write arrays by name as an `.npz`, as `numpy.savez` does with `archive.data()`; equal arrays are equal files."""
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **fields)


def _centroids(ranges: Sequence[tuple[float, float]], settings: ArchiveSettings) -> Float[np.ndarray, "cells axes"]:
    from ribs.archives import k_means_centroids

    with threadpool_limits(1):  # sums of several threads depend on which ends first
        return k_means_centroids(
            centroids=settings.cells, ranges=ranges, samples=_SAMPLES * settings.cells, seed=settings.seed
        )[0]


def _of_task(pool: Pool, task: str, axes: OutcomeAxes, centroids: np.ndarray) -> TaskArchive:
    returns = np.asarray(pool.arrays["returns"][:, pool.meta["growth"]["tasks"].index(task)], dtype=np.float64)
    rows: Int[np.ndarray, " valid"] = np.flatnonzero(np.isfinite(returns))
    if not len(rows):
        raise UserError(
            f"--pool {pool.folder} holds no finite return of the task {task!r}: mend the task and grow it anew"
        )
    fields = {"solution": rows[:, None], "objective": returns[rows], "measures": axes.values[rows], "row": rows}
    offset = float(returns[rows].min())
    return TaskArchive(task, _archive(fields, centroids, axes.ranges, offset), offset)


def _archive(fields: dict[str, np.ndarray], centroids: np.ndarray, ranges: Any, offset: float) -> Any:
    from ribs.archives import CVTArchive

    archive = CVTArchive(
        solution_dim=fields["solution"].shape[1],
        centroids=centroids,
        ranges=ranges,
        qd_score_offset=offset,
        solution_dtype=fields["solution"].dtype,
        objective_dtype=np.float64,
        measures_dtype=np.float64,
        extra_fields={"row": ((), np.int64)},
    )
    archive.add(**fields)
    return archive


def _about(pool: Pool, axes: OutcomeAxes, chosen: TaskArchive, settings: ArchiveSettings) -> dict[str, Any]:
    network, growth = pool.network, pool.meta["growth"]
    return {
        "format_version": ARCHIVE_FORMAT,
        "lightning_pz": __version__,
        "pool": {"name": pool.folder.name, "digest": pool.digest, "policies": len(pool)},
        "env": EnvSpec.from_dict(pool.meta["env"]).identity(),
        "layout": pool.layout.to_dict(),
        **{name: getattr(network, name).tolist() for name in STATISTICS},
        "measures": list(axes.names),
        "ranges": axes.ranges,
        "objective": {"task": chosen.task, "tasks": growth["tasks"], "episodes": 1},
        "qd_score_offset": chosen.offset,
        "cells": settings.cells,
        "seed": settings.seed,
    }


def _title(pool: Pool, found: TaskArchive) -> str:
    stats = found.archive.stats
    score = f"{float(stats.qd_score):{number_form(float(stats.qd_score))}}"
    return f"{env_words(pool.meta['env'])}, {found.task}: QD score {score}, coverage {float(stats.coverage):.0%}"


def _about_of(folder: Path) -> dict[str, Any]:
    about = read_about(folder)
    if about is None:
        raise UserError(
            f"{folder} holds no {ARCHIVE_ABOUT}: give a folder that python -m lightning_pz.export --pool wrote"
        )
    return about
