"""Take decoders, policies and pools to other tools, and theirs in: `python -m lightning_pz.export --policy policy.npz --to model.zip`.

What is written is told by what `--to` names; nothing is overwritten:

    FOLDER/       of --checkpoint: safetensors, config and card for a model hub
    FOLDER/       of --pool: a grown pool as an archive of ribs, with its QD scores and heat maps
    model.zip     of --policy policy.npz and --env: for Stable-Baselines3's load
    policy.npz    of --policy model.zip: a PPO, SAC, TD3, DQN or TQC, to go on with

`load_autoencoder("FOLDER")` opens the folder of a checkpoint. A policy of Stable-Baselines3 goes on in `compress --policy` and
`evaluate --translate`, and where a decoder makes such policies in `finetune --start`; an archive in `collect --recipe archive`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning_pz.common.checks import check_extra
from lightning_pz.common.errors import UserError, run_main
from lightning_pz.doors.archive_settings import RIBS_PACKAGES, ArchiveSettings
from lightning_pz.envs.presets import resolve_env

_SOURCES = ("checkpoint", "policy", "pool")


def main(arguments: list[str]) -> None:
    """Run the whole job on command-line arguments."""
    from lightning_pz.common.command_line import CommandParser, pick

    parser = CommandParser(command="export", description=__doc__)
    parser.add_argument("--checkpoint", type=str | None, default=None, help="Checkpoint of a fit.")
    parser.add_argument("--policy", type=str | None, default=None, help="Policy file: .npz, or a model's .zip.")
    parser.add_argument("--pool", type=str | None, default=None, help="Folder of a grown pool.")
    parser.add_argument("--to", type=str | None, default=None, help="Folder or file to write.")
    parser.add_argument(
        "--env",
        type=str | None,
        default=None,
        help="Environment of a .zip that is written: a preset or a Gymnasium id.",
    )
    parser.add_argument(
        "--normalization",
        type=str | None,
        default=None,
        help="Statistics that VecNormalize.save wrote, of a .zip that is read.",
    )
    parser.add_class_arguments(ArchiveSettings)
    given = parser.parse_args(arguments)
    sources = [name for name in _SOURCES if given[name] is not None]
    if given.to is None or len(sources) != 1:
        raise UserError("export takes --to, and one of --checkpoint, --policy and --pool: --help shows what goes where")
    settings = pick(ArchiveSettings, given)
    source, target = Path(given[sources[0]]), Path(given.to)
    _check_source(sources[0], source)
    if target.exists():
        raise UserError(f"--to {target} is there already: give another place, or remove it")
    kinds = (source.suffix, target.suffix)
    if given.policy is None:
        if target.suffix in (".zip", ".npz", ".ckpt", ".csv"):
            raise UserError(f"--to expects a folder for a {sources[0]}, but got {target}")
    elif kinds not in ((".npz", ".zip"), (".zip", ".npz")):
        raise UserError(
            f"--policy and --to expect policy.npz and model.zip, or the other way, but got {source} and {target}"
        )
    _check_options(given, settings, kinds if given.policy is not None else ("", ""))
    env_id = None if given.env is None else resolve_env(given.env)["env"]["id"]
    if given.pool is not None:
        check_extra(RIBS_PACKAGES, "qd", "--pool ... --to FOLDER")

    from lightning_pz.jobs.export import export_checkpoint, export_policy, export_pool

    if given.checkpoint is not None:
        export_checkpoint(source, target)
    elif given.pool is not None:
        export_pool(source, target, settings)
    else:
        export_policy(source, target, env_id, given.normalization)


def _check_source(name: str, source: Path) -> None:
    if name == "pool" and not (source / "pool.json").is_file():
        raise UserError(f"--pool expects the folder of a pool, but there is no pool.json in {source}")
    if name != "pool" and not source.is_file():
        raise UserError(f"--{name} expects a file, but there is none at {source}")


def _check_options(given: Any, settings: ArchiveSettings, kinds: tuple[str, str]) -> None:
    """Refuse an option of another source than the given one."""
    if (given.env is None) == (kinds == (".npz", ".zip")):
        raise UserError("--env goes with a .zip that is written, whose spaces are the environment's")
    if given.normalization is not None and kinds != (".zip", ".npz"):
        raise UserError("--normalization goes with a .zip that is read")
    for name, value in vars(settings).items():
        if given.pool is None and value != getattr(ArchiveSettings, name):
            raise UserError(f"--{name} goes with --pool, of which it makes an archive: leave it out, or give one")


if __name__ == "__main__":
    run_main(main)
