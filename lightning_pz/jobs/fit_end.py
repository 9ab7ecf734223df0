"""The end of a fit: what the pool's best policies keep when decoded, the closing tables, and the command to type next."""

from __future__ import annotations

import math
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightning_pz.autoencoder.module import BehaviorAutoencoder
from lightning_pz.common.console import show_end
from lightning_pz.common.errors import UserError
from lightning_pz.common.processes import available_cores
from lightning_pz.common.tables import Table
from lightning_pz.envs.specs import env_words
from lightning_pz.envs.tasks import task_names
from lightning_pz.evaluation.pool_starts import START_EPISODES, pool_starts
from lightning_pz.pool.batches import climbs_of
from lightning_pz.pool.datamodule import PolicyPoolDataModule
from lightning_pz.pool.entropies import entropy_words
from lightning_pz.pool.store import Pool

_EPISODES, _STEPS = {"grown": 100, "random": 200, "archive": 200}, 1000
"""Whole episodes that the next command pays for, by the kind of the pool, and the least steps that they count for."""
_TRIED = 20  # policies of the pool that the next command tries where the best was lucky
_FALLING = 0.02  # share by which held-out FVU falls in the last fifth of a training that was too short
_APART = 0.9  # training FVU as a share of held-out FVU below which the two lie apart


def measure_starts(model: BehaviorAutoencoder, pool: Pool) -> dict[str, Any]:
    """Return what a summary says of a grown pool: the steps of its growth, and returns by task; None where invalid.

    A simulation that fails by now takes nothing else from the summary of a training that is done.
    """
    if pool.meta.get("recipe") != "grown":
        return {}
    found: dict[str, float] = {}
    try:
        starts = pool_starts(model, pool, threads=available_cores())
    except UserError as error:
        print(f"note: the pool's best policies were not played again: {error}")
        return {"growth_steps": pool.meta["growth"]["steps"]}
    for task, start in starts.items():
        found[f"{task}/pool_best_found"] = start.found
        found[f"{task}/pool_best"], found[f"{task}/pool_best_decoded"] = start.own, start.decoded
    plain = {key: value if math.isfinite(value) else None for key, value in found.items()}
    return {"growth_steps": pool.meta["growth"]["steps"], "pool_best_episodes": START_EPISODES, **plain}


def held_out_climbs(data: PolicyPoolDataModule) -> dict[str, int]:
    """Return how many climbs are held out to choose the checkpoint and for the test, where whole climbs are."""
    if data.held_out != "climbs":
        return {}
    return {
        f"{name}_climbs": int((np.unique(climbs_of(part.pool, part.rows)) >= 0).sum())
        for name, part in (("val", data.val), ("test", data.test))
    }


def lucky_tasks(summary: Mapping[str, Any], pool: Pool) -> list[str]:
    """Return the tasks whose best policy of the pool, played again, keeps less than half of its lead over the median one."""
    lucky = []
    for number, task in enumerate(pool.meta["growth"]["tasks"] if "pool_best_episodes" in summary else ()):
        found, own = summary[f"{task}/pool_best_found"], summary[f"{task}/pool_best"]
        middle = float(np.nanmedian(pool.arrays["returns"][:, number]))
        if found is None or own is None or own - middle < 0.5 * (found - middle):
            lucky.append(task)
    return lucky


def search_command(checkpoint: str, pool: Pool, logs: str, lucky: Sequence[str] = ()) -> str:
    """Return the `finetune` command that searches the decoder for one task: the first that is not Gymnasium's own.

    It begins at the best policy of a grown pool, at the best of several where that one was `lucky`, or at draws, and takes
    seconds where the simulator is a fast one.
    """
    env, kind = pool.meta["env"], pool.meta.get("recipe", "random")
    names = pool.meta["growth"]["tasks"] if kind == "grown" else task_names(env["id"])
    task = next((name for name in names if name != "standard"), "standard")
    words = ["python", "-m", "lightning_pz.finetune", "--checkpoint", checkpoint, "--task", task]
    if kind == "grown":
        words += ["--start", "pool_top", "--starts", str(_TRIED)] if task in lucky else ["--start", "pool_best"]
    words += ["--budget", str(_EPISODES[kind] * max(_STEPS, env["horizon"]))]
    return shlex.join(words + (["--logs", logs] if logs != "logs" else []))


def fit_notes(
    summary: Mapping[str, Any], history: Sequence[tuple[int, float, float]], lucky: Sequence[str] = ()
) -> list[str]:
    """Return what numbers alone would not say, in sentences.

    `history` has (step, held-out FVU, training FVU) in order; `lucky` are tasks, see `lucky_tasks`.
    """
    notes = []
    # Of several sizes of policy, the mean over all pairs is no match for what PCA makes of one pool.
    if summary["val_fvu"] > summary["pca_fvu"] and not any(key.startswith("test_fvu/") for key in summary):
        notes.append(
            f"note: held-out FVU {summary['val_fvu']:.3f} is above the {summary['pca_fvu']:.3f} of PCA with as many "
            f"components, which sees the held-out states. {_advice(summary, history)}"
        )
    if "test_climbs" in summary:
        notes.append(
            f"note: {summary['val_climbs']} whole climbs of the growth chose the checkpoint and {summary['test_climbs']} are the "
            "test, so few that another split may say something else. They begin at policies of other climbs, which training may "
            "hold; evaluate --elsewhere with a pool grown from another seed measures unrelated ones."
        )
    elif summary["recipe"] == "grown":
        notes.append(
            "note: held-out policies of a grown pool descend from the same searches as its training policies. To measure "
            "less related ones, fit with --data.held_out climbs, or give evaluate --elsewhere a pool grown from another seed."
        )
    if lucky:
        notes.append(
            f"note: on {', '.join(lucky)} the best policy of the pool was lucky in its one episode of the growth: from other "
            "starts, or in longer episodes, it keeps less than half of its lead. --start pool_steady also asks the policies that act like it, at no "
            "step; --start pool_top tries several, and counts their steps."
        )
    return notes


def _advice(summary: Mapping[str, Any], history: Sequence[tuple[int, float, float]]) -> str:
    """Return what may help, as far as the history tells; a training that has come to rest does not gain by more steps."""
    values = [value for _, value, _ in history]
    before = values[len(values) - 1 - len(values) // 5]
    if len(values) < 5 or values[-1] < (1 - _FALLING) * before:
        return "It was still falling at the end: give more --trainer.max_steps."
    if summary["train_fvu"] < _APART * summary["val_fvu"]:
        sizes = {"grown": "--data.grown.steps", "random": "--data.random.candidates", "archive": "a larger archive"}
        kind = summary["recipe"]
        states = "--states.train of collect" if kind == "archive" else f"--data.{kind}.states.train"
        return (
            f"That of training policies is {summary['train_fvu']:.3f}: more policies ({sizes[kind]}) or states ({states}) may "
            "help."
        )
    random = " These policies are random; a grown pool (--data.recipe grown) is another matter."
    return (
        f"It had come to rest, and training policies have {summary['train_fvu']:.3f}: {summary['latent_dim']} numbers are "
        "few for what these policies do, and longer training will not change that."
        + (random if summary["recipe"] == "random" else "")
    )


def show_fit(summary: Mapping[str, Any], notes: Sequence[str], pool: Pool, folder: Path, curves: str) -> None:
    """Print the notes, the closing tables, the next command and what shows curves, and last the folder."""
    kind = summary["recipe"]
    growth = f"grown in {summary['growth_steps']:,} steps" if kind == "grown" else kind
    rows = {
        "environment": env_words(pool.meta["env"]),
        "pool": growth,
        "policies": f"{summary['pool_size']:,} of {summary['params_per_policy']:,} weights",
        **entropy_words(summary),
        "latent size": str(summary["latent_dim"]),
        "FVU held out": f"{summary['val_fvu']:.3f}",
        **{
            f"  of {words} alone": f"{summary[key]:.3f}"
            for key, words in (("val_fvu_mean", "means"), ("val_fvu_std", "standard deviations"))
            if key in summary
        },
        "FVU test (decided nothing)": f"{summary['test_fvu']:.3f}",
        **{
            f"  {key.removeprefix('test_fvu/').replace('_to_', ' to ')}": f"{value:.3f}"
            for key, value in summary.items()
            if key.startswith("test_fvu/")
        },
        "FVU training": f"{summary['train_fvu']:.3f}",
        "FVU PCA on behavior, held out / test": _on_both(summary, "pca_fvu"),
        "FVU PCA on parameters": _on_both(summary, "params_pca_fvu"),
        f"FVU affine policies ({summary['affine_numbers']:.0f} numbers)": _on_both(summary, "affine_fvu"),
        "seconds, pool + training": f"{summary['collect_seconds']:.0f} + {summary['fit_seconds']:.0f}",
    }
    for note in notes:
        print("\n" + textwrap.fill(note, 110, break_on_hyphens=False, break_long_words=False))
    tables = [_starts_table(summary, pool)] if "pool_best_episodes" in summary else []
    show_end(rows, summary["next_command"], folder, tables=tables, curves=curves)


def _on_both(summary: Mapping[str, Any], key: str) -> str:
    """Return a linear reference on the split that chose the checkpoint, and on that of the test."""
    return f"{summary[key]:.3f} / {summary[f'test_{key}']:.3f}"


def _starts_table(summary: Mapping[str, Any], pool: Pool) -> Table:
    """Return a row per task: the best of the pool when it was found, played again, and decoded."""
    growth, whole = pool.meta["growth"], pool.meta["env"]["horizon"]
    own = growth["settings"]["horizon"]
    header = [
        "best in the pool", f"found, {min(own or whole, whole):,} steps",
        f"{summary['pool_best_episodes']} x {whole:,} steps", "the same decoded",
    ]  # fmt: skip
    keys = ("pool_best_found", "pool_best", "pool_best_decoded")
    rows = [[task, *(_return(summary[f"{task}/{key}"]) for key in keys)] for task in growth["tasks"]]
    return Table(header, rows)


def _return(value: float | None) -> str:
    """Return a return as text, without digits that its size makes idle."""
    return "invalid" if value is None else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
