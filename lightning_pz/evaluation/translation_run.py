"""The run folder of translations between sizes of policy: measured once, found again, with tables and a figure."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from matplotlib.figure import Figure

from lightning_pz.autoencoder.module import BehaviorAutoencoder
from lightning_pz.autoencoder.sizes import PolicySize, size_of
from lightning_pz.common.errors import UserError
from lightning_pz.common.files import alone, file_digest, new_folder, safe_name, write_json, write_text
from lightning_pz.common.known_folders import Identity, find
from lightning_pz.common.plotting import BLUE, GRAY, panels, save_figure
from lightning_pz.common.statistics import Estimate
from lightning_pz.envs.episode_identity import environment_identity, task_sources, versions
from lightning_pz.envs.presets import env_name
from lightning_pz.envs.tasks import find_tasks
from lightning_pz.evaluation.groups import EvaluateConfig
from lightning_pz.evaluation.translation import Translation, translate
from lightning_pz.policy.saved import policy_file
from lightning_pz.pool.of_checkpoint import is_pool_of, open_pool_of
from lightning_pz.pool.several import given_folders
from lightning_pz.pool.states import StateCounts
from lightning_pz.pool.store import Pool, read_pool


@dataclass(frozen=True)
class TranslationRun:
    """The result of a command: its folder, and the contents of its summary.json."""

    folder: Path
    summary: dict[str, Any]


def chosen_pairs(sizes: Sequence[PolicySize], words: Sequence[str]) -> list[tuple[PolicySize, PolicySize]]:
    """Return the pairs that words such as `medium,large` name, or all from a size with a pool to any size if none do."""
    if len(sizes) == 1:
        raise UserError(
            f"--translate expects a checkpoint of several sizes of policy, but this one has {sizes[0].name} alone: fit with "
            "--data.pool A,B, or with --decodes large"
        )
    pairs = []
    for word in words:
        names = word.split(",")
        if len(names) != 2:
            raise UserError(
                f"--translate expects pairs FROM,TO, such as {sizes[0].name},{sizes[1].name}, but got {word!r}"
            )
        source, target = (size_of(sizes, name.strip(), "--translate") for name in names)
        if not source.has_pool:
            raise UserError(
                f"--translate {word}: no pool of {source.name} policies was trained on, so there are none to translate; "
                f"the way from another size there and back is measured with --translate {sizes[0].name},{source.name}"
            )
        pairs.append((source, target))
    every = [(source, target) for source in sizes if source.has_pool for target in sizes]
    return list(dict.fromkeys(pairs)) or every  # a pair is measured once, however it is spelled


def translate_checkpoint(
    path: Path, model: BehaviorAutoencoder, words: Sequence[str], tasks: Sequence[str] | None, config: EvaluateConfig,
    logs: Path, pool: str | None = None, *, progress: bool = False,
) -> TranslationRun:  # fmt: skip
    """Translate held-out policies between the sizes of a checkpoint, or read what an equal run left behind.

    `words` name the pairs; see `chosen_pairs`. `pool` holds the folders of pools that were moved, with commas between them.
    """
    pairs = chosen_pairs(model.sizes, words)
    first, names = model.sizes[0].description, list(find_tasks(model.env["id"], tasks))
    pools = {size.name: _pool_of(size, pool) for size in model.sizes if size.has_pool}
    settings = {key: value for key, value in config.plain().items() if key not in _UNUSED}
    env, sources = environment_identity(model.env, path), task_sources(model.env["id"], names)
    identity = Identity({
        "translate": [(source.name, target.name) for source, target in pairs], "checkpoint": file_digest(path),
        "pools": {name: one.digest for name, one in pools.items()}, "env": env, "tasks": sources, "settings": settings,
        "versions": versions(env["id"]),
    })  # fmt: skip
    parent = logs / "evaluate" / env_name(model.env["id"])
    base = f"translate-{safe_name(first['policy'])}-k{model.hparams['latent_dim']}-seed{first.get('seed', 0)}"
    with alone(parent / f"{base}-{identity.digest[:8]}"):
        folder = find([parent], f"{base}-{identity.digest[:8]}", identity)
        if (folder / "summary.json").is_file():
            return TranslationRun(folder, json.loads((folder / "summary.json").read_text()))
        begin, found = time.perf_counter(), list[Translation]()
        common = pools[first["policy"]]
        span = StateCounts(**common.meta["states"]).slices()["test"]
        states = torch.from_numpy(common.arrays["states"][span].copy())
        decides = {"env": env, "tasks": sources, "versions": versions(env["id"])}
        for source in dict.fromkeys(source for source, _ in pairs):
            targets = [target for one, target in pairs if one is source]
            functions = find_tasks(model.env["id"], names)
            shared = (parent / "shared", decides)
            found += translate(
                model, source, targets, pools[source.name], states, functions, config, *shared, progress=progress
            )
        summary: dict[str, Any] = {
            "env": model.env["id"], "latent_dim": model.hparams["latent_dim"], "seed": first.get("seed", 0),
            "episodes": config.episodes, "checkpoint": str(path),
            "translate_seconds": round(time.perf_counter() - begin, 2),
        }  # fmt: skip
        for one in found:
            pair = f"{one.source}_to_{one.target}"
            summary |= {f"{pair}/fvu": one.fvu, f"{pair}/fvu_back": one.fvu_back}
            for task, measures in one.measures(config).items():
                for name, value in measures.items():
                    key = f"{pair}/{task}/{name}"
                    summary |= value.keys(key) if isinstance(value, Estimate) else {key: value}
        with new_folder(folder) as temporary:
            identity.write(temporary)
            told = {"checkpoint": str(path), "translate": list(words), "tasks": names, **settings}
            write_text(temporary / "config.yaml", yaml.safe_dump(told, sort_keys=False))
            for one in found:
                (temporary / "policies" / f"{one.source}_to_{one.target}").mkdir(parents=True)
                for task, policy in one.best.items():
                    policy.save(temporary / "policies" / f"{one.source}_to_{one.target}" / policy_file(task))
            _write_returns(found, temporary / "returns.csv")
            title = f"{first['env_name']}, k = {model.hparams['latent_dim']}"
            save_figure(translation_figure(found, title), temporary / "figures" / "translation")
            write_json(temporary / "summary.json", summary)
        return TranslationRun(folder, summary)


_UNUSED = ("threads", "latents", "fresh_episodes")
"""Settings of an evaluation that no translation depends on; `latent_seed` is that of its bootstrap."""


def _pool_of(size: PolicySize, given: str | None) -> Pool:
    for folder in [] if given is None else given_folders(given):
        if is_pool_of(pool := read_pool(folder), size.description):
            return pool
    return open_pool_of(size.description)


def _write_returns(found: Sequence[Translation], path: Path) -> None:
    """Write one line per episode: sizes, policy, episode, and for each task the returns of the policy, there and back."""
    tasks = list(found[0].own)
    ways = ("own", "there", "back")
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["from", "to", "policy", "episode", *(f"{task}/{way}" for task in tasks for way in ways)])
        for one in found:
            policies, episodes = one.own[tasks[0]].shape
            for policy in range(policies):
                for episode in range(episodes):
                    values = [_cell(getattr(one, way), task, policy, episode) for task in tasks for way in ways]
                    writer.writerow([one.source, one.target, policy, episode, *values])


def _cell(returns: Mapping[str, Any], task: str, policy: int, episode: int) -> str:
    return repr(float(returns[task][policy, episode])) if returns else ""


def translation_figure(found: Sequence[Translation], title: str) -> Figure:
    """Draw each policy's mean return after translation against its own, a row a pair of sizes, a column a task.

    What keeps its return lies on the gray line.
    """
    tasks = list(found[0].own)
    figure, axes = panels(len(found), len(tasks), width=2.4 * len(tasks) + 0.8, height=2.2 * len(found) + 0.5)
    for row, one in zip(axes, found, strict=True):
        for axis, task in zip(row, tasks, strict=True):
            own, there = one.own[task].mean(1), one.there[task].mean(1)
            axis.scatter(own, there, s=6, color=BLUE, linewidths=0, rasterized=True)
            ends = [np.nanmin([own, there]), np.nanmax([own, there])]
            axis.plot(ends, ends, color=GRAY, linewidth=0.7)
        row[0].set_ylabel(f"{one.source} to {one.target}\nreturn, translated")
    for axis, task in zip(axes[0], tasks, strict=True):
        axis.set_title(task)
    for axis in axes[-1]:
        axis.set_xlabel("own return")
    figure.suptitle(title)
    return figure
