"""What can be refused of `evaluate` before torch is imported: flags of another measurement, and a pool that cannot be ranked."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lightning_pz.common.errors import UserError
from lightning_pz.envs.presets import conf_dir, given_keys
from lightning_pz.jobs.finetune_settings import check_task
from lightning_pz.pool.unplayed import unplayed

TAKES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "--task": ("ranks a pool by episodes of its growth", ("pool", "threads", "video")),
    "--elsewhere": ("encodes policies of other pools and plays nothing", ("policy",)),
    "--translate FROM,TO": (
        "takes held-out policies from one size to another",
        ("tasks", "pool", "policies", "episodes", "episode_seed", "best", "draws", "latent_seed", "threads", "sample"),
    ),
    "--translate FILE.npz,TO": (
        "distills a policy, whose episodes are the fresh ones",
        ("tasks", "fresh_episodes", "threads"),
    ),
}
"""What each measurement beside the evaluation itself does, and which of the evaluation's settings it depends on.

`--checkpoint`, `--env`, `--logs` and `--config` go with all of them; ranking needs no checkpoint.
"""
_TRANSLATES = {False: "--translate FROM,TO", True: "--translate FILE.npz,TO"}  # By whether a word names a file
_FURTHER = {"pool": None, "video": False, "logger": "tensorboard"}  # Defaults that conf/evaluate.yaml does not hold


def names_file(word: str) -> bool:
    """Return whether a word of `--translate` names the file of a policy, not a size."""
    return word.split(",")[0].endswith(".npz")


def check_measurement(ranks: bool, elsewhere: bool, translations: Sequence[str] | None, words: Sequence[str]) -> None:
    """Raise `UserError` for two measurements at once, or for a setting that the one that is asked for does not depend on.

    Args:
        ranks: Whether a pool is to be ranked.
        elsewhere: Whether FVU on other pools is to be measured.
        translations: The words of `--translate`; None without it.
        words: The rest of the command, whose settings count with those of its `--config` files.
    """
    flags = {"--task": ranks, "--elsewhere": elsewhere, "--translate": translations is not None}
    if len(asked := [flag for flag, is_asked in flags.items() if is_asked]) > 1:
        raise UserError(f"{' and '.join(asked)} each measure something of their own: leave one of them out")
    if translations is not None:
        kinds = dict.fromkeys(map(names_file, translations)) or {False: None}
        asked = [_TRANSLATES[is_file] for is_file in kinds]
    if not asked:
        return
    defaults = yaml.safe_load((conf_dir() / "evaluate.yaml").read_text()) | _FURTHER
    taken = dict.fromkeys(name for one in asked for name in TAKES[one][1])
    for name, value in _settings(words).items():
        if name in defaults and name not in taken and value != defaults[name]:
            does = " and ".join(f"{one} {TAKES[one][0]}" for one in asked)
            raise UserError(
                f"--{name} has no effect here, since {does}: leave --{name} out (of the settings of an evaluation it takes "
                f"{', '.join(f'--{one}' for one in taken)})"
            )


def _settings(words: Sequence[str]) -> dict[str, Any]:
    """Return the settings of the `--config` files and, on top of them, those of the words themselves, as YAML has them."""
    found = given_keys(list(words))
    for word, after in itertools.pairwise([*words, ""]):
        if word.startswith("--"):
            name, is_joined, value = word.removeprefix("--").partition("=")
            found[name] = text = value if is_joined else after
            with contextlib.suppress(yaml.YAMLError):
                found[name] = yaml.safe_load(text)
    return found


def check_ranking(pool: str | None, tasks: Sequence[str], env_id: str | None) -> None:
    """Raise `UserError` unless a grown pool is to be ranked on tasks of its environment."""
    if pool is None:
        raise UserError("--task ranks the policies of a pool, but which? Give --pool with its folder, logs/pools/NAME")
    if not tasks:
        raise UserError(
            "--pool without --checkpoint ranks its policies, but on which task? Give --task with names, or "
            "mypackage.module:function"
        )
    path = Path(pool) / "pool.json"
    if not path.is_file():
        raise UserError(f"--pool expects the folder of a pool, but there is no pool.json in {pool}")
    try:
        meta = json.loads(path.read_text())
        found, recipe = str(meta["env"]["id"]), meta.get("recipe")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no pool description: make the pool again, or give another --pool") from error
    if env_id is not None and env_id != found:
        raise UserError(f"--env asks for {env_id}, but {pool} is a pool for {found}: leave --env out, or give its pool")
    if recipe != "grown":
        raise UserError(
            f"{pool} {unplayed(meta)}, so there is nothing to rank them by: give a grown "
            "pool (python -m lightning_pz.collect --recipe grown)"
        )
    for task in tasks:
        check_task(found, task)
