"""Make a pool of policies: `python -m lightning_pz.collect --env halfcheetah --policy medium`.

`--recipe random`, the paper's, draws candidates, compares their actions on the probe states and keeps the most novel
share. `--recipe grown` searches, with no reward of any task, for policies that go somewhere new, and keeps those whose
outcomes lie apart; it resumes after a kill. `--recipe archive --archive PATH` takes the policies of an archive of ribs. The
default is grown for all presets but mountaincar (though not with `--policy large`) and random for all else, as in `fit`.
`--recipe grown --help` shows the options of that recipe.

`--workers 4` spreads the work over processes, `--on dask`, `slurm` or `ray` over the workers of a cluster, to the same
pool; `fit` finds it.

Each writes a pool folder, `logs/pools/<name>`; equal settings find it again, in `fit` too:

    pool.json        recipe, counts, versions, digests
    *.npy            policies, states and actions, read without copying
    figures/         growth over the rounds (grown pools)
    events.*         the same for TensorBoard, or what else --logger names (grown pools)
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any, get_args

from lightning_pz.common.checks import PoolKind, one_of
from lightning_pz.common.errors import UserError, run_main
from lightning_pz.envs.presets import (
    EnvConfig,
    PolicyConfig,
    default_recipe,
    expand_presets,
    explain_presets,
    given_keys,
    take_option,
)

_OFTEN = {
    "random": ("env", "policy", "recipe", "candidates", "keep", "seed", "on", "workers", "pool", "logs", "config"),
    "grown": ("env", "policy", "recipe", "steps", "size", "seed", "threads", "on", "workers", "pool", "logs", "config"),
    "archive": ("env", "policy", "recipe", "archive", "biases", "seed", "pool", "logs", "config"),
}
_WORKERS = (
    "Workers side by side, which share each round of a growth evenly. If null, `local` works in this process, an engine that "
    "is started here on as many as there are cores, and a cluster gets each direction by itself."
)
_THREADS = (
    "Threads of this process, to step physics and to compare policies; all cores, or OMP_NUM_THREADS of them, if null. A worker "
    "has one. Results do not depend on it."
)


def main(arguments: list[str]) -> None:
    """Run the whole job on command-line arguments."""
    asked, arguments = take_option(arguments, "--recipe")
    chosen = asked or default_recipe(arguments)
    one_of("recipe", chosen, get_args(PoolKind))
    shipped = "collect" if chosen == "random" else f"collect-{chosen}"
    expanded = expand_presets(shipped, arguments)

    from lightning_pz.common.command_line import CommandParser, pick
    from lightning_pz.common.executors.opening import check_engine
    from lightning_pz.common.executors.settings import Engine
    from lightning_pz.common.tracking.settings import LOGGER_HELP, Loggers, check_loggers, read_loggers
    from lightning_pz.doors.archive_recipe import ArchiveRecipe
    from lightning_pz.pool.grown_recipe import GrownRecipe
    from lightning_pz.pool.recipe import RandomRecipe

    kinds: dict[str, Any] = {"random": RandomRecipe, "grown": GrownRecipe, "archive": ArchiveRecipe}
    kind = kinds[chosen]
    _check_belongs(arguments, chosen, kinds)
    parser = CommandParser(command="collect", description=__doc__, often=_OFTEN[chosen])
    parser.add_argument("--config", action="config", help="YAML file of settings.")
    parser.add_argument("--recipe", type=PoolKind, default=chosen, help="How policies are found.")
    parser.add_argument("--pool", type=str | None, default=None, help="Folder to make; named by its recipe if null.")
    parser.add_argument("--logs", type=str, default="logs", help="Folder for pools and runs.")
    if chosen == "grown":
        parser.add_argument("--logger", type=str, default="tensorboard", help=LOGGER_HELP)
    parser.add_class_arguments(kind)
    if chosen != "archive":
        parser.add_class_arguments(Engine)
    parser.explain({"workers": _WORKERS, **({"threads": _THREADS} if chosen == "grown" else {})})
    parser.add_class_arguments(EnvConfig, "env")
    parser.add_class_arguments(PolicyConfig, "policy")
    explain_presets(parser)
    config = parser.instantiate(parser.parse_args(expanded))
    if config.recipe != chosen:  # whose shipped settings are the wrong ones by now
        raise UserError(
            f"--recipe {chosen} contradicts the --config file, which asks for {config.recipe}: leave one out"
        )

    engine, loggers = Engine() if chosen == "archive" else pick(Engine, config), Loggers()
    check_engine(engine)
    if chosen == "grown":
        check_loggers(loggers := read_loggers(config.logger, config.logs))

    from lightning_pz.jobs.collect import collect_pool

    collect_pool(config.env, config.policy, pick(kind, config), config.logs, config.pool, engine, loggers)


def _check_belongs(arguments: list[str], chosen: str, kinds: dict[str, Any]) -> None:
    """Refuse an option of the other recipe with a sentence that names it."""
    own, names = {field.name for field in dataclasses.fields(kinds[chosen])}, list(given_keys(arguments))
    names += [re.split(r"[.=]", word.removeprefix("--"))[0] for word in arguments if word.startswith("--")]
    for other in kinds.keys() - {chosen}:
        for name in names:
            if name not in own and name in {field.name for field in dataclasses.fields(kinds[other])}:
                raise UserError(
                    f"--{name} is an option of --recipe {other}, but this pool's recipe is {chosen}: give --recipe {other}, "
                    "or leave it out"
                )


if __name__ == "__main__":
    run_main(main)
