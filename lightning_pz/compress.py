"""Make one trained network small: `python -m lightning_pz.compress --env halfcheetah --method prune+int8 --sparsity 0.95`.

Trains by Stable-Baselines3 while weights are pruned, gated, factorized or rounded; with `--policy FILE` a policy that exists
is compressed by fine-tuning on its own behavior, with no reward. Each run leaves `logs/compress/<env>/<run>`:

    config.yaml       every setting; `--config` on it names the same run
    summary.json      return with its 95 % interval, sparsity, bytes by format, latency, behavior FVU
    policy.lpz        the compressed policy (lightning_pz.compression.read_network opens it); its size is the one reported
    formats/          the same in every format, for its size; what the run did not train is rounded afterwards, not measured
    policy.onnx       float, and with int8 or int4 policy_int8.onnx or policy_int4.onnx (extra onnx)
    policy.h          a C99 header that needs nothing else, with --format c
    model.zip         the model, for Stable-Baselines3's own loader; not with --policy
    figures/          bytes by format, sparsity by layer, return against bytes of all runs that can be compared
    events.*          for TensorBoard, or what else --logger names

A finished run is never repeated; with `--checkpoint_every` an interrupted one resumes where it stopped. `--seeds` makes
several, side by side on the cores, or with `--on` on Dask, Slurm or Ray.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_pz.common.errors import run_main
from lightning_pz.envs.presets import EnvConfig, preset_names

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from lightning_pz.compression.settings import CompressSettings, RunSettings

_OFTEN = (
    "env", "method", "sparsity", "algorithm", "steps", "policy", "latent", "reference", "episodes", "format", "seed", "seeds",
    "on", "workers", "logs", "progress", "config", "help",
)  # fmt: skip


def make_parser() -> ArgumentParser:
    """Return the parser of all options."""
    from lightning_pz.common.command_line import CommandParser
    from lightning_pz.compression.settings import CompressSettings, RunSettings

    parser = CommandParser(command="compress", description=__doc__, often=_OFTEN)
    parser.add_argument("--config", action="config", help="YAML file of settings, such as the config.yaml of a run.")
    parser.add_class_arguments(CompressSettings)
    parser.add_class_arguments(RunSettings)
    parser.add_class_arguments(EnvConfig, "env")
    presets = ", ".join(sorted({*preset_names("compress"), *preset_names("env")}))
    parser.explain({"env": f"A preset ({presets}), a registered Gymnasium id, or module:Id."}, "NAME")
    return parser


def parse_words(arguments: list[str]) -> tuple[EnvConfig, CompressSettings, RunSettings]:
    """Return what command-line arguments ask for, on top of the shipped settings; refuse what needs no heavy imports."""
    from lightning_pz.common.checks import seeds
    from lightning_pz.common.command_line import pick
    from lightning_pz.common.executors import check_engine
    from lightning_pz.common.tracking.settings import check_loggers
    from lightning_pz.compression.resolve import check_files, expand
    from lightning_pz.compression.settings import CompressSettings, RunSettings

    parser = make_parser()
    config = parser.instantiate(parser.parse_args(expand(arguments)))
    settings, run = pick(CompressSettings, config), pick(RunSettings, config)
    check_files(settings)
    seeds({"seed": settings.seed}, run.seeds)
    check_engine(run.engine)
    check_loggers(run.loggers)
    return config.env, settings, run


def main(arguments: list[str]) -> None:
    """Run the whole job on command-line arguments."""
    env, settings, run = parse_words(arguments)
    # The heavy imports come after all errors in the arguments.
    from lightning_pz.jobs.compress import compress

    compress(env, settings, run)


if __name__ == "__main__":
    run_main(main)
