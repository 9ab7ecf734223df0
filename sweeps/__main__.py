"""Entry point of the studies: `python -m sweeps latent_dim --env mountaincar`. Each resumes where it stopped."""

from __future__ import annotations

from importlib import import_module

from lightning_pz.errors import UserError, nearest, run_main

SEARCHES = ("latent_dim", "width", "prior", "autoencoder", "finetune", "dimension", "purposeful")
"""Studies that are a file in `conf/sweep/` and nothing else."""
MODULES = {
    "recovery": "sweeps.recovery",
    "compare": "sweeps.compare",
    "growth": "sweeps.growth",
    "grown": "sweeps.grown",
    "manifolds": "sweeps.manifolds",
    "coverage": "sweeps.coverage",
    "probe": "sweeps.dimension.probe",
    "report": "sweeps.dimension.command",
}
"""Studies with code of their own: modules with `run(arguments)`."""
STUDIES = (*SEARCHES, *MODULES)


def main(arguments: list[str]) -> None:
    """Run a study on command-line arguments."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"usage: python -m sweeps {{{','.join(STUDIES)}}} --env NAME [--logs logs] ...\n\n{__doc__}")
        print(
            "`python -m sweeps STUDY --help` shows the options of one study; the settings are in conf/sweep/STUDY.yaml."
        )
        return
    study, rest = arguments[0], arguments[1:]
    if study not in STUDIES:
        raise UserError(f"expected a study, one of {', '.join(STUDIES)}, but got {study!r}." + nearest(study, STUDIES))
    if study in MODULES:
        import_module(MODULES[study]).run(rest)
        return
    from sweeps.command import run

    run(study, rest)


if __name__ == "__main__":
    run_main(main)
