"""The evaluate job behind its entry point: checkpoints in, run folders and one table out."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from lightning_pz.autoencoder.module import BehaviorAutoencoder
from lightning_pz.common.console import is_terminal, table
from lightning_pz.common.files import file_digest, safe_name, write_text
from lightning_pz.common.identity import digest
from lightning_pz.common.statistics import read_estimate
from lightning_pz.envs.presets import env_name
from lightning_pz.envs.specs import EnvSpec
from lightning_pz.evaluation.elsewhere import POLICIES, transfer_fvu
from lightning_pz.evaluation.fresh import FRESH
from lightning_pz.evaluation.groups import EvaluateConfig, read_returns
from lightning_pz.evaluation.metrics import METRICS
from lightning_pz.evaluation.run import Evaluation, evaluate, load_checkpoints
from lightning_pz.evaluation.table import ENDS, SHOWN, cells, console, rows
from lightning_pz.evaluation.video import film
from lightning_pz.pool.of_checkpoint import is_pool_of
from lightning_pz.pool.store import Pool, read_pool

_SIZES_SHOWN = 6


def evaluate_all(
    checkpoints: Sequence[str],
    env_id: str | None,
    config: EvaluateConfig,
    tasks: Sequence[str] | None,
    logs: Path,
    pool: str | None = None,
    *,
    video: bool = False,
) -> list[Evaluation]:
    """Evaluate checkpoints one after another and say how long each took.

    Raises:
        UserError: Bad checkpoints, tasks or pools.
    """
    torch.set_num_threads(config.threads)
    done = []
    for path, model in load_checkpoints(checkpoints, env_id):
        evaluation = evaluate(path, model, tasks, config, logs, pool, progress=is_terminal())
        done.append(evaluation)
        seconds = "was there already" if evaluation.found else f"{evaluation.summary['evaluate_seconds']:.0f} s"
        print(f"{path}: {seconds}", flush=True)
        if video:
            _film(evaluation, model)
    return done


def show(done: Sequence[Evaluation]) -> None:
    """Print one checkpoint's metrics, or one table of several, and last the folder."""
    first = done[0]
    print()
    if len(done) == 1:
        print(table(*_one(first)))
    else:
        print(console(rows(cells(done), SHOWN)))
        print(f"\n  {ENDS}")
    _tell(done)
    print(f"\n  next: tensorboard --logdir {first.folder.parent}\n")
    print(first.folder if len(done) == 1 else first.folder.parent)


def _one(evaluation: Evaluation) -> tuple[list[list[str]], list[str]]:
    """Return rows and header of one checkpoint's table: a row a metric, a column a task."""
    summary, tasks = evaluation.summary, list(evaluation.draws)

    def text(key: str) -> str:
        found = read_estimate(summary, key)
        if found is None:
            return "none"
        digits = 2 if abs(found.value) < 20 else 0
        return f"{found.value:.{digits}f}{found.ends(f'.{digits}f')}"

    return [[metric, *(text(f"{task}/{metric}") for task in tasks)] for metric in (*METRICS, *FRESH.values())], [
        "",
        *tasks,
    ]


def _tell(done: Sequence[Evaluation]) -> None:
    """Say what a table alone would hide."""
    invalid = sum(evaluation.summary["invalid_policies"] for evaluation in done)
    if invalid:
        print(f"\n  note: {invalid} policies had an episode that turned non-finite and are left out")
    if any(evaluation.summary[f"{task}/recovery_best"] is None for evaluation in done for task in evaluation.draws):
        print("\n  note: `none` is a ratio without a range: all held-out policies of the pool earn the same")


def _film(evaluation: Evaluation, model: BehaviorAutoencoder) -> None:
    plays = read_returns(evaluation.folder / "returns.csv")
    spec = EnvSpec.from_dict(model.env)
    with np.load(evaluation.folder / "latents.npz") as kept:
        latents = torch.from_numpy(kept["latents"])
    seed = 1_000_000
    for task in plays.tasks:
        best = int(np.nanargmax(plays.returns["latents"][task].mean(1)))
        with torch.no_grad():
            params = model.decoder(latents[best : best + 1])[0]
        path, why = film(model.policy, params, spec, seed, evaluation.folder / "videos" / safe_name(task))
        print(f"  video of {task}: {path or 'none, ' + why}")
        if path is None:
            return


def evaluate_elsewhere(checkpoints: Sequence[str], env_id: str | None, pools: Sequence[str], logs: Path) -> None:
    """Measure the FVU of every decoder on every pool, print a table, and write all of it as CSV; no episode is played.

    Raises:
        UserError: Bad checkpoints, a folder without a pool, or a pool of another environment or layout.
    """
    loaded = load_checkpoints(checkpoints, env_id)
    opened = [read_pool(Path(folder)) for folder in pools]
    found = [
        (_run_name(path), is_pool_of(pool, model.hparams["description"]), pool, transfer_fvu(model, pool))
        for path, model in loaded
        for pool in opened
    ]
    folder = logs / "evaluate" / env_name(loaded[0][1].env["id"])
    # Named by what was measured, so that no answer takes the place of another one.
    content = [[file_digest(path) for path, _ in loaded], [pool.digest for pool in opened], POLICIES]
    path = folder / f"elsewhere-{digest(content)[:8]}.csv"
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["run", "pool", "whose", "latents", "fvu"])
    for run, own, pool, curve in found:
        whose = "own" if own else "other"
        writer.writerows([run, pool.folder.name, whose, size, f"{value:.6g}"] for size, value in curve.items())
    write_text(path, file.getvalue())
    print("\nFVU of the policies of a pool, encoded and decoded, by how many latent numbers are kept\n")
    print(table(*_elsewhere_rows(found)))
    print(f"\n  next: every number in {path}\n\n{folder}")


def _run_name(checkpoint: Path) -> str:
    return checkpoint.resolve().parent.parent.name


def _elsewhere_rows(found: Sequence[tuple[str, bool, Pool, Mapping[int, float]]]) -> tuple[list[list[str]], list[str]]:
    """Return rows and header of the table, at no more latent sizes than a terminal has room for."""
    sizes = sorted({size for *_, curve in found for size in curve})
    if len(sizes) > _SIZES_SHOWN:
        sizes = [size for size in sizes if size & (size - 1) == 0 or size == sizes[-1]][-_SIZES_SHOWN:]
    rows = [
        [run, pool.folder.name + (" (own)" if own else "")]
        + [f"{curve[size]:.3f}" if size in curve else "" for size in sizes]
        for run, own, pool, curve in found
    ]
    return rows, ["run", "pool", *(f"k={size}" for size in sizes)]
