"""The export job: one file or pool in, one file or folder out."""

from __future__ import annotations

import shlex
from pathlib import Path

from lightning_pz.common.checks import check_extra
from lightning_pz.common.console import show_end
from lightning_pz.common.files import replacing
from lightning_pz.doors.archive_settings import ArchiveSettings
from lightning_pz.envs.policy_layout import layout_settings
from lightning_pz.envs.presets import EnvConfig, env_name
from lightning_pz.envs.specs import EnvSpec, make_env
from lightning_pz.policy.saved import load_policy
from lightning_pz.pool.next_step import pool_words
from lightning_pz.pool.store import read_pool


def export_checkpoint(source: Path, target: Path) -> None:
    """Write a hub folder of a checkpoint, and print its place."""
    from lightning_pz.doors.hub_folder import write_hub_folder

    write_hub_folder(source, target)
    show_end({"decoder": str(source)}, f"hf upload NAME {target}", target)


def export_pool(source: Path, target: Path, settings: ArchiveSettings) -> None:
    """Write a grown pool as an archive of `ribs`; print its QD scores, what it takes to make a pool of it, and its place."""
    from lightning_pz.doors.ribs_archive import scores, write_archive

    pool = read_pool(source)
    axes, found = write_archive(pool, target, settings)
    rows = {
        "policies of the pool": f"{len(pool):,}",
        "axes": ", ".join(axes.names),
        "cells": f"{settings.cells:,}",
        "objective": f"return at {settings.task or found[0].task} in the episode in which a policy was found",
        "QD score": "sum over cells of the best return, less the lowest return of the pool",
        "heat maps": str(target / "figures") if len(axes.names) <= 2 else "none, for they need one or two axes",
    }
    spec = EnvSpec.from_dict(pool.meta["env"])
    env = EnvConfig(env_name(spec.id), spec.id, spec.horizon, spec.arguments)
    words = ["python", "-m", "lightning_pz.collect", "--recipe", "archive", "--archive", str(target)]
    words += pool_words(env, layout_settings(pool.layout), pool)
    show_end(rows, shlex.join(words), target, tables=[scores(found)])


def export_policy(source: Path, target: Path, env_id: str | None, normalization: str | None) -> None:
    """Write a model's zip of a policy, or the policy of a zip; print what it is, and its place."""
    check_extra("stable_baselines3", "baselines", "a .zip of Stable-Baselines3")
    from lightning_pz.doors.sb3_files import read_sb3, to_sb3

    if source.suffix == ".zip":
        policy = read_sb3(source, normalization)
        policy.save(target)
        rows = {"policy": f"{policy.layout.num_params:,} weights, {policy.layout.head.kind} head"}
        show_end(rows, f"python -m lightning_pz.compress --env ENV --policy {target} --method prune+int8", target)
        return
    env = make_env(str(env_id))
    with replacing(target) as temporary:
        # Stable-Baselines3 adds a suffix to a name without one.
        made = temporary.with_name(temporary.name + ".zip")
        name = to_sb3(load_policy(source), env, made)
        made.replace(temporary)
    env.close()
    show_end(
        {"model": f"{name} on {env_id}"},
        f"python -c 'import stable_baselines3 as sb3; sb3.{name}.load(\"{target}\")'",
        target,
    )
