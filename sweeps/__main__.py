"""Runs the studies: `python -m sweeps latent_dim --env mountaincar`. Each resumes where it stopped."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from lightning_pz.common.errors import UserError, nearest, run_main
from lightning_pz.common.executors import check_engine
from sweeps import options as kinds


@dataclass(frozen=True)
class Study:
    """A study as the command line knows it."""

    what: str  # it does, in a sentence
    options: type = kinds.SearchOptions
    module: str = "optuna_study.searches"  # its `run` takes the name of the study and the options


STUDIES = {
    "latent_dim": Study("Held-out FVU against latent size, a run for each size."),
    "width": Study("The environment or the network? Nested latents over policy sizes."),
    "prior": Study("How much an estimate of dimension owes to the prior."),
    "autoencoder": Study("Architecture and optimizer of the autoencoder, by TPE."),
    "finetune": Study("Latent size against the return of a search in it."),
    "dimension": Study("The cross table of dimensions, environments by policy sizes."),
    "purposeful": Study("The dimension of purposeful behavior: random pools against grown."),
    "recovery": Study("The published recovery tables, ours beside them.", kinds.RecoveryOptions, "recovery"),
    "compare": Study("Which search solves a task in the fewest steps.", kinds.CompareOptions, "compare"),
    "growth": Study("What a grown pool holds, and which part of the growth matters.", kinds.GrowthOptions, "growth"),
    "grown": Study("Searches in latents of grown pools against searches in weights.", kinds.CompareOptions, "compare"),
    "few_episodes": Study(
        "Who holds what after the first episodes of a task.", kinds.FewEpisodesOptions, "few_episodes.few_command"
    ),
    "reuse": Study(
        "Whether the growth pays twice: its policies and what it saw.",
        kinds.FewEpisodesOptions,
        "few_episodes.few_command",
    ),
    "pretraining": Study(
        "What pre-training buys, and after how many tasks it pays.",
        kinds.FewEpisodesOptions,
        "few_episodes.pretraining",
    ),
    "afterthought": Study(
        "The best of a pool at rewards that no growth knew.",
        kinds.AfterthoughtOptions,
        "afterthoughts.afterthoughts_command",
    ),
    "compression": Study(
        "Trained networks at every level of compression.",
        kinds.CompressionOptions,
        "compression.compression_command",
    ),
    "manifolds": Study("The dimension estimators on shapes of known dimension.", kinds.ManifoldOptions, "manifolds"),
    "coverage": Study("How often intervals over few seeds hold the truth.", kinds.CoverageOptions, "coverage"),
    "exchange": Study("What workers of a growth exchange in a round.", kinds.ExchangeOptions, "exchange"),
    "probe": Study("Probes of fits that were made without.", kinds.ProbeOptions, "dimension.probe"),
    "results": Study("The results pages, rendered anew.", kinds.ResultsOptions, "results.pages"),
    "report": Study("The dimension report of finished studies.", kinds.ReportOptions, "dimension.command"),
}
SEARCHES = tuple(name for name, study in STUDIES.items() if study.options is kinds.SearchOptions)
"""Studies that are a file in `conf/sweep/` and nothing else."""
_EPILOG = """\
`python -m sweeps STUDY --help` shows the options of one study. What it varies is in conf/sweep/STUDY.yaml, in the dotted
keys of `fit`; --grid reads another file. Finished fits are never repeated, and a study resumes where it stopped."""


def main(arguments: list[str]) -> None:
    """Run a study on command-line arguments."""
    if not arguments or arguments[0] in ("-h", "--help"):
        lines = [f"  {name:<13}{study.what}" for name, study in STUDIES.items()]
        print("\n".join(["usage: python -m sweeps STUDY [options]", "", *lines, "", textwrap.fill(_EPILOG, 80)]))
        return
    name, rest = arguments[0], arguments[1:]
    if name not in STUDIES:
        raise UserError(f"expected a study, one of {', '.join(STUDIES)}, but got {name!r}." + nearest(name, STUDIES))
    study = STUDIES[name]
    file = f" Its file: conf/sweep/{name}.yaml." if hasattr(study.options, "grid") else ""
    options: Any = kinds.read_options(name, study.options, rest, study.what + file)
    if hasattr(options, "engine"):
        check_engine(options.engine)
    import_module(f"sweeps.{study.module}").run(name, options)


if __name__ == "__main__":
    run_main(main)
