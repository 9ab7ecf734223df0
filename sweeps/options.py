"""Options of the studies that fit and evaluate one environment's grid, `recovery` and `growth`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_pz.errors import UserError
from lightning_pz.common.files import slug
from lightning_pz.presets import conf_dir, resolve_env, take_option, take_options


@dataclass(frozen=True)
class Asked:
    """What the command line asks for.

    Attributes:
        env: Preset or Gymnasium id.
        env_name: Its short name.
        logs: Folder for pools and runs.
        grid: The file that says what to run.
        several: Values of the option that may be given several times.
        folder: Where the study's tables go; a folder of its own for a part of the grid.
    """

    env: str
    env_name: str
    logs: str
    grid: Path
    several: list[str]
    folder: Path


def read_options(study: str, arguments: Sequence[str], several: str | None = None) -> Asked:
    """Read `--env`, `--logs`, `--grid`, and perhaps one option that may be given several times.

    Args:
        study: Name of the study, of its grid in `conf/sweep/`, and of its folder.
        arguments: Of the command line.
        several: That option.

    Raises:
        UserError: No environment, or an option that the study does not have.
    """
    env, rest = take_option(list(arguments), "--env")
    logs, rest = take_option(rest, "--logs")
    grid, rest = take_option(rest, "--grid")
    values, rest = take_options(rest, several) if several else ([], rest)
    if env is None:
        raise UserError("which environment? Give --env with a preset or a Gymnasium id")
    if rest:
        known = ", ".join(["--env", "--grid", "--logs", *([several] if several else [])])
        raise UserError(f"python -m sweeps {study} takes {known}, but got {' '.join(rest)}")
    name, root = resolve_env(env)["env"]["name"], logs or "logs"
    path = Path(grid) if grid else conf_dir() / "sweep" / f"{study}.yaml"
    # A part of the grid stands beside the whole, and does not take its place.
    folder = Path(root) / "sweeps" / "-".join([study, name, *map(slug, values)])
    return Asked(env, name, root, path, values, folder)
