"""Entry point of the studies: `python -m sweeps recovery --env mountaincar`. Each resumes where it stopped."""

from __future__ import annotations

from importlib import import_module

from lightning_pz.errors import UserError, nearest, run_main
from lightning_pz.presets import resolve_env, take_option

MODULES = {
    "manifolds": "sweeps.manifolds", "probe": "sweeps.dimension.probe", "report": "sweeps.dimension.command",
}  # fmt: skip
"""Studies with arguments of their own: modules with `run(arguments)`."""
STUDIES = ("recovery", *MODULES)


def main(arguments: list[str]) -> None:
    """Run a study on command-line arguments."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"usage: python -m sweeps {{{','.join(STUDIES)}}} --env NAME [--logs logs]\n\n{__doc__}")
        return
    study, rest = arguments[0], arguments[1:]
    if study not in STUDIES:
        raise UserError(f"expected a study, one of {', '.join(STUDIES)}, but got {study!r}." + nearest(study, STUDIES))
    if study in MODULES:
        import_module(MODULES[study]).run(rest)
        return
    env, rest = take_option(rest, "--env")
    logs, rest = take_option(rest, "--logs")
    grid, rest = take_option(rest, "--grid")
    if env is None:
        raise UserError("which environment? Give --env with a preset or a Gymnasium id")
    if rest:
        raise UserError(f"python -m sweeps {study} takes --env, --grid and --logs, but got {' '.join(rest)}")
    env_name = resolve_env(env)["env"]["name"]
    from sweeps.recovery import run

    run(env, env_name, logs or "logs", grid)


if __name__ == "__main__":
    run_main(main)
