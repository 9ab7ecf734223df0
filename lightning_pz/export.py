"""Take decoders and policies to other tools, and theirs in: `python -m lightning_pz.export --policy policy.npz --to model.zip`.

What is written is told by what `--to` names; nothing is overwritten:

    FOLDER/       of --checkpoint: safetensors, config and card for a model hub
    model.zip     of --policy policy.npz and --env: for Stable-Baselines3's load
    policy.npz    of --policy model.zip: a PPO, SAC, TD3 or DQN, to go on with

`load_autoencoder("FOLDER")` opens a folder. A policy of Stable-Baselines3 goes on in `finetune --start`, `compress --policy` and
`evaluate --translate`.
"""

from __future__ import annotations

from pathlib import Path

from lightning_pz.common.errors import UserError, run_main
from lightning_pz.envs.presets import resolve_env


def main(arguments: list[str]) -> None:
    """Run the whole job on command-line arguments."""
    from lightning_pz.common.command_line import CommandParser

    parser = CommandParser(command="export", description=__doc__)
    parser.add_argument("--checkpoint", type=str | None, default=None, help="Checkpoint of a fit.")
    parser.add_argument("--policy", type=str | None, default=None, help="Policy file: .npz, or a model's .zip.")
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
    given = parser.parse_args(arguments)
    if given.to is None or (given.checkpoint is None) == (given.policy is None):
        raise UserError("export takes --to, and one of --checkpoint and --policy: --help shows what goes where")
    source, target = Path(given.checkpoint or given.policy), Path(given.to)
    if not source.is_file():
        raise UserError(
            f"--{'checkpoint' if given.checkpoint else 'policy'} expects a file, but there is none at {source}"
        )
    if target.exists():
        raise UserError(f"--to {target} is there already: give another place, or remove it")
    kinds = (source.suffix, target.suffix)
    if given.checkpoint is not None:
        if target.suffix in (".zip", ".npz", ".ckpt"):
            raise UserError(f"--to expects a folder for a checkpoint, but got {target}")
    elif kinds not in ((".npz", ".zip"), (".zip", ".npz")):
        raise UserError(
            f"--policy and --to expect policy.npz and model.zip, or the other way, but got {source} and {target}"
        )
    if (given.env is None) == (kinds == (".npz", ".zip")):
        raise UserError("--env goes with a .zip that is written, whose spaces are the environment's")
    if given.normalization is not None and kinds != (".zip", ".npz"):
        raise UserError("--normalization goes with a .zip that is read")
    env_id = None if given.env is None else resolve_env(given.env)["env"]["id"]

    from lightning_pz.jobs.export import export_checkpoint, export_policy

    if given.checkpoint is not None:
        export_checkpoint(source, target)
    else:
        export_policy(source, target, env_id, given.normalization)


if __name__ == "__main__":
    run_main(main)
