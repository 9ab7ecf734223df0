"""Recovery over policy sizes, latent sizes and training seeds, beside what was published.

Fits what is not there yet, evaluates it, and leaves `logs/sweeps/recovery-<env>`: `table.csv` with every metric and
interval, `table.md`, and a figure. The grid is in `conf/sweep/recovery.yaml`.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lightning_pz.errors import UserError
from lightning_pz.presets import conf_dir, merge


@dataclass(frozen=True)
class Grid:
    """What to fit and how to evaluate it.

    Args:
        policies: Policy presets, each with settings of `fit` that hold for it alone.
        latent_dims: Latent sizes.
        seeds: Training seeds.
        fit: Settings of `fit`, in its dotted keys.
        evaluate: Settings of `evaluate`.
    """

    policies: dict[str, dict[str, Any]]
    latent_dims: list[int]
    seeds: list[int]
    fit: dict[str, Any] = field(default_factory=dict)
    evaluate: dict[str, Any] = field(default_factory=dict)

    def runs(self) -> list[tuple[str, int, int]]:
        """Return (policy, latent size, seed) of every fit."""
        return list(itertools.product(self.policies, self.latent_dims, self.seeds))


def load_grid(env_name: str, path: Path) -> tuple[Grid, dict[str, Any]]:
    """Read the grid of an environment and the numbers published for it.

    Raises:
        UserError: The file is missing or has keys that mean nothing.
    """
    if not path.is_file():
        raise UserError(f"--grid expects a YAML file, but there is none at {path}")
    text = yaml.safe_load(path.read_text())
    settings = merge(text.get("default", {}), text.get(env_name, {}))
    try:
        grid = Grid(**settings)
    except TypeError as error:
        keys = ", ".join(Grid.__dataclass_fields__)
        raise UserError(f"{path}: a grid has the keys {keys}; {str(error).split(') ')[-1]}") from error
    return grid, text.get("published", {}).get(env_name, {})


def run(env: str, env_name: str, logs: str, grid_path: str | None = None) -> None:
    """Fit and evaluate the whole grid of an environment, and show the table.

    Args:
        env: Preset or Gymnasium id.
        env_name: Its short name.
        logs: Folder for pools and runs.
        grid_path: Another file than the shipped grid.

    Raises:
        UserError: A bad grid, or a run of the same name with other settings.
    """
    grid, published = load_grid(env_name, Path(grid_path) if grid_path else conf_dir() / "sweep" / "recovery.yaml")
    from lightning_pz.evaluation.command import evaluate_all
    from lightning_pz.evaluation.play import EvaluateConfig

    config = EvaluateConfig(**grid.evaluate)
    checkpoints = []
    runs = grid.runs()
    for number, (policy, k, seed) in enumerate(runs, 1):
        folder = Path(logs) / "fit" / env_name / f"recovery-{policy}-k{k}-seed{seed}"
        print(f"fit {number} of {len(runs)}: {folder}", flush=True)
        fit_once(
            folder,
            env,
            policy,
            {**grid.fit, **grid.policies[policy], "model.latent_dim": k, "seed_everything": seed},
            logs,
        )
        checkpoints.append(str(folder / "checkpoints" / "best.ckpt"))
    done = evaluate_all(checkpoints, None, config, None, Path(logs))
    _write(done, published, Path(logs) / "sweeps" / f"recovery-{env_name}", env_name)


def fit_once(folder: Path, env: str, policy: str, settings: Mapping[str, Any], logs: str) -> None:
    """Run a fit unless it is finished; go on with one that was interrupted."""
    if folder.exists():
        _check_settings(folder, settings)
    if (folder / "summary.json").is_file():
        return
    arguments = ["--env", env, "--policy", policy, "--logs", logs]
    arguments += [f"--{key}={value}" for key, value in settings.items()]
    last = folder / "checkpoints" / "last.ckpt"
    if last.is_file():
        arguments += ["--ckpt_path", str(last)]
    else:
        shutil.rmtree(folder, ignore_errors=True)  # stopped before its first validation: nothing to keep
        arguments += ["--run_name", folder.name]
    from lightning_pz.fit import main as fit

    fit(arguments)


def _check_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    path = folder / "config.yaml"
    config = yaml.safe_load(path.read_text()) if path.is_file() else {}
    for key, expected in settings.items():
        found: Any = config
        for part in key.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if config and found != expected:
            raise UserError(
                f"{folder} is a run with {key} = {found}, but the grid asks for {expected}: move that folder away, or give "
                "another --logs"
            )


def _write(done: Sequence[Any], published: Mapping[str, Any], folder: Path, env_name: str) -> None:
    from lightning_pz import plots
    from lightning_pz.evaluation.figures import recovery_curves
    from lightning_pz.evaluation.table import SHOWN, cells, console, markdown, rows, write_csv

    found = cells(done)
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(found, folder / "table.csv")
    (folder / "table.md").write_text(markdown(rows(found, SHOWN, published)))
    figure = recovery_curves(found, published, env_name)
    plots.save(figure, folder / "recovery.png")
    plots.plt.close(figure)
    print()
    print(console(rows(found, SHOWN, published)))
    print(f"\n  next: {folder / 'recovery.png'}, and every metric in {folder / 'table.csv'}\n")
    print(folder)
