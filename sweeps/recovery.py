"""Recovery over policy sizes, latent sizes and training seeds, beside what was published.

Fits what is not there yet, evaluates it, and leaves `logs/sweeps/recovery-<env>`: `table.csv` with every metric and
interval, `table.md`, and a figure; tables of another `--grid` file have a folder of their own beside it. The grid is in
`conf/sweep/recovery.yaml`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_pz.common.errors import UserError
from lightning_pz.common.files import check_writable, replacing, write_text
from lightning_pz.envs.presets import merge, resolve_env
from sweeps.fits import Fit, check_fits, seeded
from sweeps.folders import changed_grid, grid_path, tables_folder
from sweeps.options import RecoveryOptions
from sweeps.optuna_study.plan import check_sections, section
from sweeps.optuna_study.reading import distinct, make, plain_name, read_yaml, seeds_of, whole_numbers

Published = dict[str, dict[str, dict[int, float]]]
"""Published recovery by task, policy and latent size."""


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

    def check(self, where: str) -> None:
        """Raise `UserError` for values that no grid can have."""
        for key in ("policies", "latent_dims"):
            if not getattr(self, key):
                raise UserError(f"{where}: {key!r} expects at least one entry, but got none")
        seeds_of(where, self.seeds)
        distinct(where, self.latent_dims, "latent_dims")
        for k in self.latent_dims:
            whole_numbers(where, {"latent_dims": k}, 1)
        for name in self.policies:
            plain_name(where, "a name in policies", name)

    def runs(self) -> list[tuple[str, int, int]]:
        """Return (policy, latent size, seed) of every fit."""
        return list(itertools.product(self.policies, self.latent_dims, self.seeds))

    def fit_of(self, env: str, env_name: str, logs: str, policy: str, k: int, seed: int) -> Fit:
        """Return one fit of the grid."""
        settings = {**self.fit, **self.policies[policy], "model.latent_dim": k}
        return seeded(f"recovery-{policy}-k{k}", env, env_name, policy, settings, logs, seed)


@dataclass(frozen=True)
class _Published:
    published: Published = field(default_factory=dict)


def load_grid(env_name: str, path: Path) -> tuple[Grid, Published]:
    """Read the grid of an environment and the numbers published for it.

    Raises:
        UserError: The file is missing, or has keys or values that mean nothing.
    """
    text = read_yaml(path)
    check_sections(path, text, ("default", "published"), env_name)
    settings = merge(section(text, "default", path), section(text, env_name, path))
    grid = make(Grid, settings, f"{path}: a grid")
    grid.check(str(path))
    published = section(text, "published", path).get(env_name) or {}
    return grid, make(_Published, {"published": published}, str(path)).published


def run(study: str, options: RecoveryOptions) -> None:
    """Fit and evaluate the whole grid of an environment, and show the table.

    Args:
        study: Its name.
        options: Of the command line.

    Raises:
        UserError: A bad grid, or a run of the same name with other settings.
    """
    if options.env is None:
        raise UserError("which environment? Give --env with a preset or a Gymnasium id")
    env_name, path = resolve_env(options.env)["env"]["name"], grid_path(study, options.grid)
    grid, published = load_grid(env_name, path)
    from lightning_pz.evaluation.groups import EvaluateConfig
    from lightning_pz.jobs.evaluate import evaluate_all

    config = make(EvaluateConfig, grid.evaluate, f"{path}: evaluate")
    fits = [grid.fit_of(options.env, env_name, options.logs, *which) for which in grid.runs()]
    check_fits(fits, str(path))
    folder = tables_folder(options.logs, study, [env_name], changed_grid(study, path))
    check_writable(folder)
    for number, fit in enumerate(fits, 1):
        print(f"fit {number} of {len(fits)}: {fit.folder}", flush=True)
        fit.run()
    done = evaluate_all([str(fit.checkpoint) for fit in fits], None, config, None, Path(options.logs))
    _write(done, published, folder, env_name)


def _write(done: Sequence[Any], published: Mapping[str, Any], folder: Path, env_name: str) -> None:
    from lightning_pz.common import plots
    from lightning_pz.evaluation.figures import recovery_curves
    from lightning_pz.evaluation.recovery_table import (
        RECOVERY_ENDS,
        average_recovery,
        recovery_table,
        short_recovery_table,
    )

    found = average_recovery(done)
    table = short_recovery_table(found, published)
    write_text(folder / "table.csv", recovery_table(found).csv())
    write_text(folder / "table.md", f"{table.markdown()}\n{RECOVERY_ENDS}\n")
    figure = recovery_curves(found, published, env_name)
    with replacing(folder / "recovery.png") as temporary:
        figure.savefig(temporary, format="png", dpi=150, bbox_inches="tight")
    plots.plt.close(figure)
    print(f"\n{table.console()}")
    print(f"\n  next: {folder / 'recovery.png'}, and every metric in {folder / 'table.csv'}\n")
    print(folder)
