"""Recovery over policy sizes, latent sizes and training seeds, beside what was published.

Fits what is not there yet, evaluates it, and leaves `logs/sweeps/recovery-<env>`: `table.csv` with every metric and
interval, `table.md`, and a figure. The grid is in `conf/sweep/recovery.yaml`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lightning_pz.errors import UserError
from lightning_pz.presets import merge
from sweeps.fits import Fit, seeded
from sweeps.options import read_options


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

    def fit_of(self, env: str, env_name: str, logs: str, policy: str, k: int, seed: int) -> Fit:
        """Return one fit of the grid."""
        settings = {**self.fit, **self.policies[policy], "model.latent_dim": k}
        return seeded(f"recovery-{policy}-k{k}", env, env_name, policy, settings, logs, seed)


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


def run(arguments: list[str]) -> None:
    """Fit and evaluate the whole grid of an environment, and show the table.

    Args:
        arguments: `--env NAME`, and perhaps `--logs` and `--grid`.

    Raises:
        UserError: A bad grid, or a run of the same name with other settings.
    """
    asked = read_options("recovery", arguments)
    grid, published = load_grid(asked.env_name, asked.grid)
    from lightning_pz.evaluation.command import evaluate_all
    from lightning_pz.evaluation.play import EvaluateConfig

    config = EvaluateConfig(**grid.evaluate)
    fits = [grid.fit_of(asked.env, asked.env_name, asked.logs, *which) for which in grid.runs()]
    for fit in fits:
        fit.check(str(asked.grid))
    for number, fit in enumerate(fits, 1):
        print(f"fit {number} of {len(fits)}: {fit.folder}", flush=True)
        fit.run()
    done = evaluate_all([str(fit.checkpoint) for fit in fits], None, config, None, Path(asked.logs))
    _write(done, published, asked.folder, asked.env_name)


def _write(done: Sequence[Any], published: Mapping[str, Any], folder: Path, env_name: str) -> None:
    from lightning_pz import plots
    from lightning_pz.evaluation.figures import recovery_curves
    from lightning_pz.evaluation.table import ENDS, SHOWN, cells, console, markdown, rows, write_csv

    found = cells(done)
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(found, folder / "table.csv")
    (folder / "table.md").write_text(f"{markdown(rows(found, SHOWN, published))}\n{ENDS}\n")
    figure = recovery_curves(found, published, env_name)
    plots.save(figure, folder / "recovery.png")
    plots.plt.close(figure)
    print()
    print(console(rows(found, SHOWN, published)))
    print(f"\n  next: {folder / 'recovery.png'}, and every metric in {folder / 'table.csv'}\n")
    print(folder)
