"""The evaluate job: checkpoints in, run folders and one table out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from lightning_pz.autoencoder.module import BehaviorAutoencoder
from lightning_pz.common.console import is_terminal
from lightning_pz.common.files import file_digest, safe_name, write_text
from lightning_pz.common.identity import digest
from lightning_pz.common.statistics import UNKNOWN, read_estimate
from lightning_pz.common.tables import Table
from lightning_pz.common.threads import one_thread
from lightning_pz.common.tracking.settings import Loggers, look_command
from lightning_pz.envs.presets import env_name
from lightning_pz.envs.specs import EnvSpec
from lightning_pz.evaluation.elsewhere import POLICIES, SAMPLE_SEED, transfer_fvu
from lightning_pz.evaluation.fresh import FRESH
from lightning_pz.evaluation.groups import EvaluateConfig, read_returns
from lightning_pz.evaluation.metrics import BEST_FRESH, METRIC_LABELS, RECOVERY_METRICS
from lightning_pz.evaluation.recovery_table import RECOVERY_ENDS, average_recovery, short_recovery_table
from lightning_pz.evaluation.run import Evaluation, evaluate, load_checkpoints
from lightning_pz.evaluation.video import film
from lightning_pz.pool.of_checkpoint import is_pool_of
from lightning_pz.pool.store import read_pool

_SIZES_SHOWN = 6


def evaluate_all(
    checkpoints: Sequence[str], env_id: str | None, config: EvaluateConfig, tasks: Sequence[str] | None, logs: Path,
    pool: str | None = None, policy: str | None = None, *, video: bool = False, loggers: Loggers = Loggers(),  # noqa: B008  frozen
) -> list[Evaluation]:  # fmt: skip
    """Evaluate checkpoints one after another and print how long each took; see `evaluate` for the arguments and errors.

    `policy` is the size to take of checkpoints of several.
    """
    done = []
    with one_thread():  # physics has all of them
        for path, model in load_checkpoints(checkpoints, env_id, policy):
            evaluation = evaluate(path, model, tasks, config, logs, pool, progress=is_terminal(), loggers=loggers)
            done.append(evaluation)
            seconds = "was there already" if evaluation.found else f"{evaluation.summary['evaluate_seconds']:.0f} s"
            print(f"{path}: {seconds}", flush=True)
            if video:
                _film(evaluation, model)
    return done


def print_evaluations(done: Sequence[Evaluation], loggers: Loggers = Loggers()) -> None:  # noqa: B008  frozen
    """Print one checkpoint's metrics, or one table of several, and last the folder."""
    first = done[0]
    if len(done) == 1:
        metrics, tasks = (RECOVERY_METRICS[0], BEST_FRESH, *RECOVERY_METRICS[1:], *FRESH.values()), list(first.draws)
        found = [[read_estimate(first.summary, f"{task}/{metric}") or UNKNOWN for task in tasks] for metric in metrics]
        rows = [[METRIC_LABELS[metric], *row] for metric, row in zip(metrics, found, strict=True)]
        print(f"\n{Table(['', *tasks], rows).console(whole=True)}")
    else:
        print(f"\n{short_recovery_table(average_recovery(done)).console()}\n\n  {RECOVERY_ENDS}")
    if invalid := sum(evaluation.summary["invalid_policies"] for evaluation in done):
        print(f"\n  note: {invalid} policies had an episode that turned non-finite and are left out")
    if any(evaluation.summary[f"{task}/recovery_best"] is None for evaluation in done for task in evaluation.draws):
        print("\n  note: `none` is a ratio without a range: all held-out policies of the pool earn the same")
    if any(e.summary.get(f"{task}/{BEST_FRESH}", 0.0) is None for e in done for task in e.draws):
        print("\n  note: `none` on fresh episodes: there the best of the pool is not clearly above its middle")
    if older := [e.folder for e in done if any(f"{task}/{BEST_FRESH}" not in e.summary for task in e.draws)]:
        print(
            f"\n  note: {older[0]} is of an earlier version, without the {METRIC_LABELS[BEST_FRESH]}: delete it and evaluate "
            "again to have that"
        )
    print(f"\n  next: {look_command(loggers, first.folder.parent)}\n")
    print(first.folder if len(done) == 1 else first.folder.parent)


def _film(evaluation: Evaluation, model: BehaviorAutoencoder) -> None:
    plays = read_returns(evaluation.folder / "returns.csv")
    spec = EnvSpec.from_dict(model.env)
    with np.load(evaluation.folder / "latents.npz") as kept:
        latents = torch.from_numpy(kept["latents"])
    for task in plays.tasks:
        best = int(np.nanargmax(plays.returns["latents"][task].mean(1)))
        with torch.no_grad():
            params = model.decoder(latents[best : best + 1])[0]
        path, why = film(model.policy, params, spec, 1_000_000, evaluation.folder / "videos" / safe_name(task))
        print(f"  video of {task}: {path or 'none, ' + why}")
        if path is None:
            return


def evaluate_elsewhere(
    checkpoints: Sequence[str], env_id: str | None, pools: Sequence[str], logs: Path, policy: str | None = None
) -> None:
    """Measure the FVU of every decoder on every pool, print a table, and write all of it as CSV; no episode is played."""
    loaded = load_checkpoints(checkpoints, env_id, policy)
    opened = [read_pool(Path(folder)) for folder in pools]
    found = [
        (path.resolve().parent.parent.name, pool.folder.name, is_pool_of(pool, model.hparams["description"]), transfer_fvu(model, pool))
        for path, model in loaded
        for pool in opened
    ]  # fmt: skip
    folder = logs / "evaluate" / env_name(loaded[0][1].env["id"])
    # Named by what was measured, so that no answer takes the place of another one.
    content = [[file_digest(path) for path, _ in loaded], [pool.digest for pool in opened], POLICIES]
    content += [] if policy is None else [policy]
    # An earlier version took only policies that the checkpoint's split holds out of any pool.
    content += [] if all(own for _, _, own, _ in found) else [["sample", SAMPLE_SEED]]
    path = folder / f"elsewhere-{digest(content)[:8]}.csv"
    every = [
        [run, pool, "own" if own else "other", size, f"{value:.6g}"]
        for run, pool, own, curve in found
        for size, value in curve.items()
    ]
    write_text(path, Table(["run", "pool", "whose", "latents", "fvu"], every).csv())
    sizes = sorted({size for *_, curve in found for size in curve})
    if len(sizes) > _SIZES_SHOWN:
        sizes = [size for size in sizes if size & (size - 1) == 0 or size == sizes[-1]][-_SIZES_SHOWN:]
    header = ["run", "pool", *(f"k={size}" for size in sizes)]
    rows = [[run, pool + " (own)" * own, *map(curve.get, sizes)] for run, pool, own, curve in found]
    table = Table(header, rows, dict.fromkeys(header, ".3f"))
    print("\nFVU of the policies of a pool, encoded and decoded, by how many latent numbers are kept\n")
    print(f"{table.console(names=2)}\n\n  next: every number in {path}\n\n{folder}")
