"""The job of `evaluate --translate`: pairs of policy sizes, or files of policies and a size, in; tables and policies out."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_pz.autoencoder.module import BehaviorAutoencoder
from lightning_pz.autoencoder.sizes import size_of
from lightning_pz.common.console import is_terminal
from lightning_pz.common.errors import UserError
from lightning_pz.common.files import alone, file_digest, new_folder, safe_name, write_json, write_text
from lightning_pz.common.known_folders import Identity, find
from lightning_pz.common.statistics import UNKNOWN, mean_interval, read_estimate
from lightning_pz.common.tables import Table
from lightning_pz.common.threads import one_thread
from lightning_pz.envs.episode_identity import environment_identity, task_sources, versions
from lightning_pz.envs.presets import env_name
from lightning_pz.envs.tasks import find_tasks
from lightning_pz.evaluation.distillation import check_encodes_behavior, distill_saved, features_on
from lightning_pz.evaluation.fresh import fresh_seeds
from lightning_pz.evaluation.groups import EvaluateConfig
from lightning_pz.evaluation.run import load_checkpoints
from lightning_pz.evaluation.translation_run import chosen_pairs, translate_checkpoint
from lightning_pz.jobs.evaluate_words import names_file
from lightning_pz.policy.saved import load_policy


def translate_all(
    checkpoints: Sequence[str], env_id: str | None, words: Sequence[str], config: EvaluateConfig,
    tasks: Sequence[str] | None, logs: Path, pool: str | None = None,
) -> None:  # fmt: skip
    """Translate with every checkpoint, print the tables, and last the folder of the last one.

    `UserError`, before anything is played: a word that is none of a checkpoint's sizes, or a policy that it cannot encode.
    """
    words = list(dict.fromkeys(words))
    files = [word for word in words if names_file(word)]
    pairs = [word for word in words if word not in files]
    for word in files:
        if len(word.split(",")) != 2:
            raise UserError(
                f"--translate expects a policy's file and a size, such as policy.npz,small, but got {word!r}"
            )
    folder, last, loaded = logs, (Path(), ""), load_checkpoints(checkpoints, env_id)
    for path, model in loaded:
        _check(path, model, files, pairs)
    with one_thread():  # physics has all of them
        for path, model in loaded:
            for word in files:
                folder = _distill(path, model, word, config, tasks, logs)
            if pairs or not files:
                run = translate_checkpoint(path, model, pairs, tasks, config, logs, pool, progress=is_terminal())
                folder = run.folder
                table = translation_table(run.summary)
                write_text(folder / "translation.csv", table.csv())
                print(f"\n{path}\n\n{table.console(names=3)}")
                print(
                    "\n  FVU of actions on held-out states, there and back. Best: mean return of the best "
                    f"{config.best} held-out policies,\n  themselves, translated, and translated back. Kept: their lead over "
                    "the median policy, 1 is all of it."
                )
            last = (path, model.sizes[-1].name)
    print(
        f"\n  next: {shlex.join(['python', '-m', 'lightning_pz.finetune', '--checkpoint', str(last[0]), '--policy', last[1]])}"
    )
    print(f"\n{folder}")


def translation_table(summary: Mapping[str, Any]) -> Table:
    """Return a row for each pair of sizes and task of a translation's summary."""
    pairs = [key.removesuffix("/fvu") for key in summary if key.endswith("/fvu")]
    header = ["from", "to", "task", "FVU", "back", "best", "translated", "and back", "kept", "kept back", "rank"]
    rows = []
    for pair in pairs:
        source, target = pair.split("_to_")
        tasks = [key.split("/")[1] for key in summary if key.startswith(f"{pair}/") and key.endswith("/best_own")]
        for task in tasks:
            place = f"{pair}/{task}"
            known = [summary.get(f"{place}/{name}") for name in ("best_own", "best_translated", "best_back")]
            kept = [read_estimate(summary, f"{place}/{name}") for name in ("return_kept", "return_kept_back")]
            errors = [summary[f"{pair}/fvu"], summary[f"{pair}/fvu_back"]]
            row = [source, target, task, *errors, *known, *kept, summary[f"{place}/rank_correlation"]]
            rows.append(row)
    return Table(header, rows, {"FVU": ".3f", "back": ".3f", "rank": ".2f", "kept": ".2f", "kept back": ".2f"})


def _check(path: Path, model: BehaviorAutoencoder, files: Sequence[str], pairs: Sequence[str]) -> None:
    """Raise `UserError` unless a checkpoint can take every policy, and has every size, that is named."""
    if pairs or not files:
        chosen_pairs(model.sizes, pairs)
    if files:
        check_encodes_behavior(model, path)
    for word in files:
        file, name = word.split(",")
        size_of(model.sizes, name.strip(), "--translate")
        features_on(load_policy(file), model.probe_states, model.policy)


def _distill(
    path: Path, model: BehaviorAutoencoder, word: str, config: EvaluateConfig, tasks: Sequence[str] | None, logs: Path
) -> Path:
    """Distill one file into a size, or find what an equal command left; print a table; return the folder."""
    file, name = word.split(",")
    saved, target = load_policy(file), size_of(model.sizes, name.strip(), "--translate")
    functions, seeds = find_tasks(model.env["id"], tasks), fresh_seeds(config)
    identity = Identity({
        "distill": saved.digest(), "to": target.name, "checkpoint": file_digest(path), "seeds": seeds,
        "env": environment_identity(model.env, path), "tasks": task_sources(model.env["id"], functions), "versions": versions(model.env["id"]),
    })  # fmt: skip
    parent = logs / "evaluate" / env_name(model.env["id"])
    base = f"distill-{safe_name(Path(file).stem)}-to-{safe_name(target.name)}-{identity.digest[:8]}"
    with alone(parent / base):
        folder = find([parent], base, identity)
        if not (folder / "summary.json").is_file():
            made = distill_saved(model, saved, target, functions, seeds, config.cores)
            summary: dict[str, Any] = {
                "env": model.env["id"], "policy": target.name, "from_weights": saved.layout.num_params,
                "to_weights": target.layout.num_params, "difference": made.difference, "checkpoint": str(path), "file": file,
            }  # fmt: skip
            for task in functions:
                for key, returns in (("own", made.own), ("distilled", made.there)):
                    summary |= mean_interval(returns[task]).keys(f"{task}/{key}")
            with new_folder(folder) as temporary:
                identity.write(temporary)
                made.policy.save(temporary / "policy.npz")
                write_json(temporary / "summary.json", summary)
    _show(folder, file, target.name)
    return folder


def _show(folder: Path, file: str, name: str) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    tasks = [key.removesuffix("/own") for key in summary if key.endswith("/own")]
    rows = [
        [task, *(read_estimate(summary, f"{task}/{key}") or UNKNOWN for key in ("own", "distilled"))] for task in tasks
    ]
    table = Table(["return on", f"{summary['from_weights']:,} weights", f"{summary['to_weights']:,} weights"], rows)
    print(f"\n{file} to {name}\n\n{table.console()}")
    print(
        f"\n  Mean squared difference of actions on the states that it visits: {summary['difference']:.3f} of the pool's "
        f"variance.\n  policy: {folder / 'policy.npz'}"
    )
