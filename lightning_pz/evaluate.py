"""Measure what a latent space can do: `python -m lightning_pz.evaluate --checkpoint logs/fit/.../best.ckpt`.

Plays held-out policies of the pool, the same encoded and decoded, decoded latents (a grid for k <= 3, samples of the
density of encoded policies above) and fresh random policies, all on the same episodes and on all tasks at once.
Several checkpoints (training seeds, latent sizes) give one table with intervals over seeds. Each checkpoint
leaves `logs/evaluate/<env>/<policy>-k<k>-seed<s>-<digest>`, which an equal evaluation finds again:

    identity.json  all that decides the numbers
    summary.json   <task>/<metric> with <task>/<metric>_low and _high, the 95 % interval, and its kind as _interval
    returns.csv    every episode of every policy
    latents.npz    latents of the groups `reconstructed` and `latents`, row by row
    figures/       return over the latent grid, distributions of returns, returns against coordinates
    events.*       for TensorBoard, or what else --logger names

`--pool POOL --task NAME [NAME ...]`, without a checkpoint, ranks the policies of a grown pool on any task by episodes of its
growth, which takes no environment step: table, figure and best policy in `logs/evaluate/<env>/ranking-<task>-<digest>`.

`--elsewhere POOL [POOL ...]` plays nothing and measures in seconds how well the decoders give the policies of other
pools: held-out policies of a grown pool descend from the same searches as its training policies, those of another do not.

`--translate [FROM,TO ...]`, of a checkpoint of several sizes of policy, encodes held-out policies of one size, decodes them
to another, and measures FVU and return there and back; all pairs without a word. FROM may be the file of a policy, such as
the `policy.npz` of a finetune: it is distilled into the other size. Leaves `logs/evaluate/<env>/translate-<...>-<digest>`:

    identity.json, config.yaml, summary.json (<from>_to_<to>/fvu, <from>_to_<to>/<task>/return_kept, ...)
    translation.csv, returns.csv, figures/translation.png
    policies/<from>_to_<to>/<task>.npz, the best policy of each task, translated

Each of these three takes the settings that it depends on, and refuses the others of an evaluation.
"""

from __future__ import annotations

from pathlib import Path

from lightning_pz.common.errors import UserError, run_main
from lightning_pz.envs.presets import asks_help, conf_dir, given_configs, resolve_env, take_option, take_options
from lightning_pz.jobs.evaluate_words import check_measurement, check_ranking


def main(arguments: list[str]) -> None:
    """Run the whole job on command-line arguments."""
    env, rest = take_option(arguments, "--env")
    env_id = None if env is None else resolve_env(env)["env"]["id"]
    checkpoints, rest = take_options(rest, "--checkpoint")
    tasks, rest = take_options(rest, "--task")
    pool, _ = take_option(rest, "--pool")
    only_elsewhere = any(word.split("=")[0] == "--elsewhere" for word in rest)
    elsewhere, rest = take_options(rest, "--elsewhere")
    only_translates = any(word.split("=")[0] == "--translate" for word in rest)
    translations, rest = take_options(rest, "--translate")
    only_ranks = bool(not checkpoints and (tasks or (pool and not (only_elsewhere or only_translates))))
    given_configs(rest)
    if not asks_help(rest):
        check_measurement(only_ranks, only_elsewhere, translations if only_translates else None, rest)
        if only_ranks:
            check_ranking(pool, tasks, env_id)
        elif tasks:
            raise UserError(
                "--task ranks the policies of --pool and needs no checkpoint: leave --checkpoint out, or give the tasks of "
                "the evaluation with --tasks"
            )
        elif not checkpoints:
            raise UserError("which checkpoint? Give --checkpoint with one best.ckpt of a fit, or several")
        for path in checkpoints:
            if not Path(path).is_file():
                raise UserError(f"--checkpoint expects a checkpoint file, but there is none at {path}")
        if only_elsewhere and not elsewhere:
            raise UserError("--elsewhere expects one pool folder or more, but got none")
        for path in elsewhere:
            if not (Path(path) / "pool.json").is_file():
                raise UserError(f"--elsewhere expects folders of pools, but there is no pool.json in {path}")
    from lightning_pz.common.command_line import CommandParser, pick
    from lightning_pz.common.tracking.settings import LOGGER_HELP, check_loggers, read_loggers
    from lightning_pz.evaluation.groups import EvaluateConfig

    parser = CommandParser(
        command="evaluate", description=__doc__, default_config_files=[str(conf_dir() / "evaluate.yaml")]
    )
    parser.add_argument("--config", action="config", help="YAML file of settings.")
    parser.add_argument("--checkpoint", type=str, help="Checkpoints of fits, one or several after another.")
    parser.add_argument("--elsewhere", type=str, help="Folders of pools on which to measure FVU, and nothing else.")
    parser.add_argument("--translate", type=str, help="Pairs FROM,TO of sizes to translate between, and nothing else.")
    parser.add_argument("--env", type=str, help="Refuse checkpoints of another environment than this.")
    parser.add_argument("--task", type=str, help="Rank the policies of --pool on these tasks, and nothing else.")
    parser.add_argument("--tasks", type=list[str] | None, help="Names, or mypackage.module:function; all if null.")
    parser.add_class_arguments(EvaluateConfig)
    parser.add_argument("--logs", type=str, default="logs", help="Folder for pools and runs.")
    parser.add_argument(
        "--pool", type=str | None, default=None, help="The pool's folder, if it was moved; or see --task."
    )
    parser.add_argument(
        "--policy", type=str | None, default=None,
        help="Size of policy to decode to, of a checkpoint of several sizes; that of its first pool if null.",
    )  # fmt: skip
    parser.add_argument("--logger", type=str, default="tensorboard", help=LOGGER_HELP)
    parser.add_argument("--video", type=bool, default=False, help="Film the best policy of each task.")
    config = parser.parse_args(rest)
    settings, loggers = pick(EvaluateConfig, config), read_loggers(config.logger, config.logs)
    check_loggers(loggers)

    if only_ranks:
        from lightning_pz.jobs.pool_ranking import rank_and_show

        rank_and_show(Path(config.pool), tasks, Path(config.logs), settings.cores, video=config.video)
        return
    if only_translates:
        from lightning_pz.jobs.translate import translate_all

        translate_all(checkpoints, env_id, translations, settings, config.tasks, Path(config.logs), config.pool)
        return
    from lightning_pz.jobs.evaluate import evaluate_all, evaluate_elsewhere, print_evaluations

    if only_elsewhere:
        evaluate_elsewhere(checkpoints, env_id, elsewhere, Path(config.logs), config.policy)
        return
    print_evaluations(
        evaluate_all(
            checkpoints,
            env_id,
            settings,
            config.tasks,
            Path(config.logs),
            config.pool,
            config.policy,
            video=config.video,
            loggers=loggers,
        ),
        loggers,
    )


if __name__ == "__main__":
    run_main(main)
