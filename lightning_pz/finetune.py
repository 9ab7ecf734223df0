"""Solve a task by searching a few latent numbers: `python -m lightning_pz.finetune --checkpoint PATH --task forward`.

The decoder of a trained autoencoder stays frozen; `--algorithm` picks what is searched and how. Each seed of each task
leaves a run folder `logs/finetune/<env>/<task>/<algorithm>-<checkpoint>-seed<N>`:

    config.yaml      every setting; `--config` on it names the same run
    identity.json    all that decides the result: settings, and the content of checkpoint, environment, task and start
    curve.csv        return of the incumbent on fixed episodes, against environment steps
    answers.csv      with --answers_at: return of what the search would have answered after so many episodes
    summary.json     return on test episodes that chose nothing, with its 95 % interval
    policy.npz       the best policy: layout, weights, statistics (lightning_pz.policy.saved.load_policy)
    policy.onnx      the same: raw observation in, action out (extra onnx)
    events.*         for TensorBoard, environment steps on the x axis

The same command resumes an interrupted run and never repeats a finished one. Runs are done side by side on the cores, or
with `--on` on Dask, Slurm or Ray, to the same results.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from lightning_pz.common.errors import run_main

if TYPE_CHECKING:
    from lightning_pz.jobs.finetune_settings import JobSettings
    from lightning_pz.search.settings import SearchSettings

_OFTEN = (
    "checkpoint", "task", "algorithm", "budget", "start", "seeds", "seed", "on", "workers", "pool", "logs", "config", "help",
)  # fmt: skip


def parse(arguments: list[str]) -> tuple[JobSettings, SearchSettings]:
    """Return what command-line arguments ask for, on top of the shipped settings."""
    from lightning_pz.common.command_line import CommandParser, pick
    from lightning_pz.envs.presets import conf_dir, given_configs
    from lightning_pz.jobs.finetune_settings import JobSettings
    from lightning_pz.search.settings import SearchSettings

    shipped = conf_dir() / "finetune.yaml"
    parser = CommandParser(command="finetune", description=__doc__, often=_OFTEN)
    parser.add_argument("--config", action="config", help="YAML file of settings, such as the config.yaml of a run.")
    parser.add_class_arguments(JobSettings)
    parser.add_class_arguments(SearchSettings)
    given_configs(arguments)  # refuses a --config that is no text file
    config = parser.instantiate(parser.parse_args(["--config", str(shipped), *arguments]))
    return pick(JobSettings, config), pick(SearchSettings, config)


def main(arguments: list[str]) -> None:
    """Run the whole job on command-line arguments."""
    from lightning_pz.jobs.finetune_settings import check_command, unused_words

    jobs, search = parse(arguments)
    check_command(jobs, search)
    if idle := unused_words(arguments, search):
        how = search.algorithm if search.space is None else f"{search.algorithm} with --space {search.space}"
        print(f"note: this search (--algorithm {how}) does not use {', '.join(idle)}", file=sys.stderr)
    # Heavy imports come after the checks.
    from lightning_pz.jobs.finetune import finetune

    finetune(jobs, search)


if __name__ == "__main__":
    run_main(main)
