"""Settings of the finetune command, and all that can be refused before torch is imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lightning_pz.common.checks import at_least, seeds
from lightning_pz.common.errors import UserError, nearest
from lightning_pz.common.executors.opening import check_engine
from lightning_pz.common.executors.settings import ChoosesEngine, SlurmSettings
from lightning_pz.common.tracking.settings import ChoosesLoggers, check_loggers
from lightning_pz.envs.presets import resolve_env
from lightning_pz.search.action_checks import check_actions
from lightning_pz.search.rivals.zoo import zoo_entry
from lightning_pz.search.search_identity import idle_settings
from lightning_pz.search.settings import BASELINES, SearchSettings, check_algorithm_package


@dataclass(frozen=True)
class JobSettings(ChoosesEngine, ChoosesLoggers):
    """Which decoder, how many runs, and where they go.

    Args:
        checkpoint: Checkpoint of a trained autoencoder; required.
        env: Preset or Gymnasium id, to check against the checkpoint's.
        seeds: Runs per task, with seeds from --seed on.
        on: Where runs are done: `local` processes; `dask` or `dask:ADDRESS` of a scheduler; `slurm`; `ray` or `ray:ADDRESS`,
            such as `ray:auto`; `slurm:local` tries out what `slurm` does on this machine. Results are the same.
        workers: Runs side by side: as many as there are cores and runs if null, on `slurm` all of them; a Dask or Ray cluster
            with an address has workers of its own.
        slurm: What each run asks of Slurm.
        logs: Folder for runs, on a file system that all workers share.
        logger: Where numbers go while a run runs, joined by commas: tensorboard, csv, wandb, mlflow.
        progress: Whether to draw a progress bar; on a terminal only if null.
        pool: Where the checkpoint's pool lies, if it was moved. `--start pool_best`, `pool_steady` and `pool_top` read it, anchored
            searches (`--anchor`) from a policy in a file, and `--space` with `--replay` above 0.
        policy: Size of policy to decode to, of a checkpoint of several sizes; that of its first pool if null.
    """

    checkpoint: str | None = None
    env: str | None = None
    seeds: int = 1
    on: str = "local"
    workers: int | None = None
    slurm: SlurmSettings = field(default_factory=SlurmSettings)
    logs: str = "logs"
    logger: str = "tensorboard"
    progress: bool | None = None
    pool: str | None = None
    policy: str | None = None

    def __post_init__(self) -> None:
        at_least(1, {"seeds": self.seeds})
        _ = self.loggers
        super().__post_init__()


_SECTIONS = ("pgpe", "cmaes", "bo", "random_latent", "gradient", "baselines", "off_policy")
_OF_OWN = ("best", "random", "enough")
"""What a library's own learner takes of `off_policy`."""


def unused_words(arguments: Sequence[str], search: SearchSettings) -> list[str]:
    """Return the flags that a search does not use; a script may give them always, but its author should know."""
    used = {"parameter_pgpe": "pgpe"} | dict.fromkeys(BASELINES, "baselines" if search.is_rival else "off_policy")
    section = used.get(search.algorithm, search.algorithm)
    names = [word.removeprefix("--").partition("=")[0] for word in arguments if word.startswith("--")]
    found, idle = [], idle_settings(search)
    for name in dict.fromkeys(names):
        head, _, key = name.partition(".")
        is_used = head == section or (search.space == "own" and head == "off_policy" and key in _OF_OWN)
        if name in idle or (head in _SECTIONS and key and not is_used):
            found.append(f"--{name}")
    return found


def check_command(jobs: JobSettings, search: SearchSettings) -> None:
    """Raise `UserError` for what can be refused without torch, by the settings beside a run's checkpoint."""
    seeds({"seed": search.seed}, jobs.seeds)
    check_algorithm_package(search.algorithm)
    check_engine(jobs.engine)
    check_loggers(jobs.loggers)
    if jobs.checkpoint is None:
        raise UserError(
            "which decoder? Give --checkpoint with a checkpoint that python -m lightning_pz.fit wrote, such as "
            "logs/fit/mountaincar/medium-k3-seed0-001/checkpoints/best.ckpt"
        )
    if not Path(jobs.checkpoint).is_file():
        raise UserError(f"--checkpoint expects a checkpoint file, but there is none at {jobs.checkpoint}")
    # Also where no search reads it: a script may give it always, but a wrong path is a mistake.
    if jobs.pool is not None and not (Path(jobs.pool) / "pool.json").is_file():
        raise UserError(
            f"--pool expects the folder of the checkpoint's pool, but there is no pool.json in {jobs.pool}: correct it, or "
            "leave --pool out if the pool was not moved"
        )
    env_id, is_plain = _env_beside(Path(jobs.checkpoint))
    if env_id is not None:
        check_env(env_id, jobs)
        check_task(env_id, search.task)
        if search.algorithm in BASELINES and is_plain:
            from lightning_pz.envs.specs import env_spec

            check_actions(search.algorithm, env_id, env_spec(env_id).choices)
        if search.hyperparameters == "zoo":
            zoo_entry(search.algorithm, env_id)
    elif jobs.env is not None:
        resolve_env(jobs.env)


def check_env(env_id: str, jobs: JobSettings) -> None:
    """Raise `UserError` unless the checkpoint's environment is the one of `--env`, if that is given."""
    if jobs.env is not None and (asked := resolve_env(jobs.env)["env"]["id"]) != env_id:
        raise UserError(
            f"--env {jobs.env} is {asked}, but {jobs.checkpoint} was made for {env_id}: leave --env out, or give a "
            f"checkpoint of {asked}"
        )


def check_task(env_id: str, task: str) -> None:
    """Raise `UserError` for a task, or one of several with commas between them, that the environment does not have."""
    from lightning_pz.envs.tasks import task_names

    known = task_names(env_id)
    for name in [] if task == "all" else task.split(","):
        if ":" not in name and name not in known:
            raise UserError(
                f"--task expects a task of {env_id} ({', '.join(known)}), all, or 'mypackage.module:function' for one "
                f"of your own, but got {name!r}." + nearest(name, (*known, "all"))
            )


def _env_beside(checkpoint: Path) -> tuple[str | None, bool]:
    """Return the environment id in the config.yaml of the checkpoint's own run, or None, and whether it is made without arguments."""
    try:
        config: Any = yaml.safe_load((checkpoint.parent.parent / "config.yaml").read_text())
        return str(config["env"]["id"]), not config["env"].get("kwargs")
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return None, True
