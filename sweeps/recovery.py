"""Recovery over policy sizes, latent sizes and training seeds, beside published numbers.

Makes and evaluates the fits that are missing, and leaves in `logs/sweeps/recovery-<env>`: `table.csv` with every metric
and interval, `table.md`, and a figure; tables of another `--grid` file have a folder of their own beside it. The grid is
in `conf/sweep/recovery.yaml`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_pz.common.checks import LARGEST_SEED, plain_name
from lightning_pz.common.files import write_text
from lightning_pz.envs.presets import resolve_env
from sweeps.crew import open_crew
from sweeps.fits import Fit, check_all, check_evaluate, evaluate_fits, run_fits, seeded_fits
from sweeps.folders import changed_grid, grid_path, tables_folder
from sweeps.options import RecoveryOptions
from sweeps.optuna_study.reading import check_filled, check_numbers, from_plain, read_sections

Published = dict[str, dict[str, dict[int, float]]]
"""Published recovery by task, policy and latent size."""


@dataclass(frozen=True)
class RecoveryGrid:
    """What to fit and how to evaluate it."""

    policies: dict[str, dict[str, Any]]  # presets, each with settings of `fit` that hold for it alone
    latent_dims: list[int]
    seeds: list[int]  # of the training
    fit: dict[str, Any] = field(default_factory=dict)  # settings of `fit`, in its dotted keys
    evaluate: dict[str, Any] = field(default_factory=dict)  # settings of `evaluate`

    def __post_init__(self) -> None:
        check_filled({"policies": self.policies})
        check_numbers("latent_dims", self.latent_dims, 1)
        check_numbers("seeds", self.seeds, 0, LARGEST_SEED)
        for name in self.policies:
            plain_name("policies", name)

    def make_fits(self, env: str, logs: str) -> list[Fit]:
        """Return every fit of the grid."""
        found = []
        for (policy, own), k in itertools.product(self.policies.items(), self.latent_dims):
            settings = self.fit | own | {"model.latent_dim": k}
            found += seeded_fits(f"recovery-{policy}-k{k}", env, policy, settings, logs, self.seeds)
        return found


def load_recovery(env_name: str, path: Path) -> tuple[RecoveryGrid, Published]:
    """Read the grid of an environment and the numbers published for it; a `UserError` names the key of a mistake."""
    settings, text = read_sections(path, env_name, ("published",))
    grid = from_plain(RecoveryGrid, settings, f"{path}: a grid")
    published = from_plain(dict[str, Any], text.get("published"), f"{path}: published")
    return grid, from_plain(Published, published.get(env_name), f"{path}: published.{env_name}")


def run(study: str, options: RecoveryOptions) -> None:
    """Fit and evaluate the whole grid of an environment, and show the table."""
    env_name, path = resolve_env(options.env)["env"]["name"], grid_path(study, options.grid)
    grid, published = load_recovery(env_name, path)
    check_evaluate(grid.evaluate, str(path))
    fits = grid.make_fits(options.env, options.logs)
    check_all(fits, str(path))
    folder = tables_folder(options.logs, study, [env_name], changed_grid(study, path))
    numbers = {fit.folder: number for number, fit in enumerate(fits, 1)}

    def tell(fit: Fit) -> None:
        print(f"fit {numbers[fit.folder]} of {len(fits)}: {fit.folder}", flush=True)

    with open_crew(options, options.logs) as crew:
        for _ in run_fits(crew, [(fit, grid.evaluate) for fit in fits], tell):
            pass
    done = evaluate_fits(fits, grid.evaluate)

    from lightning_pz.common.plotting import save_figure
    from lightning_pz.evaluation import recovery_table as tables
    from lightning_pz.evaluation.figures import recovery_curves

    found = tables.average_recovery(done)
    table = tables.short_recovery_table(found, published)
    write_text(folder / "table.csv", tables.recovery_table(found).csv())
    write_text(folder / "table.md", f"{table.markdown()}\n{tables.RECOVERY_ENDS}\n")
    save_figure(recovery_curves(found, published, env_name), folder / "recovery")
    print(f"\n{table.console()}")
    print(f"\n  next: {folder / 'recovery.png'}, and every metric in {folder / 'table.csv'}\n\n{folder}")
