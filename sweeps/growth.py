"""What pools hold that were made in different ways: a row per way, over seeds that make pool and autoencoder.

Makes and evaluates the fits that are missing, and leaves `table.csv` and `table.md` in `logs/sweeps/growth-<env>`; some of
the ways, or another `--grid` file, have a folder of their own beside it. The ways are in `conf/sweep/growth.yaml`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_pz.common.checks import plain_name
from lightning_pz.common.files import write_text
from lightning_pz.envs.presets import merge, resolve_env
from sweeps.crew import open_crew
from sweeps.fits import Fit, check_all, check_evaluate, evaluate_fits, run_fits, seeded_fits
from sweeps.folders import changed_grid, grid_path, tables_folder
from sweeps.options import GrowthOptions
from sweeps.optuna_study.reading import check_filled, check_known, errors_from, from_plain, read_sections, whole_numbers

if TYPE_CHECKING:
    from sweeps.pool_rows import PoolRow


@dataclass(frozen=True)
class Variant:
    """One way to make a pool."""

    run: str  # name of its fits, without the seed at the end
    seeds: int = 2  # how many there are, from seed 0 on
    fit: dict[str, Any] = field(default_factory=dict)  # its own settings of `fit`; `{seed}` stands for the seed

    def __post_init__(self) -> None:
        plain_name("run", self.run)
        whole_numbers({"seeds": self.seeds}, 1)


@dataclass(frozen=True)
class Ways:
    """All ways of one environment."""

    policy: str  # preset of the policies' size
    fit: dict[str, Any]  # settings of `fit` that all share
    evaluate: dict[str, Any]  # settings of `evaluate`
    tasks: list[str]  # of the table; all of the environment if empty
    variants: dict[str, Variant]  # by their names in the table

    def __post_init__(self) -> None:
        check_filled({"variants": self.variants})

    def make_fits(self, env: str, logs: str, name: str) -> list[Fit]:
        """Return the fits of one variant."""
        variant = self.variants[name]
        return seeded_fits(variant.run, env, self.policy, merge(self.fit, variant.fit), logs, range(variant.seeds))


def load_ways(env_name: str, path: Path, variants: Sequence[str] = ()) -> Ways:
    """Read the ways of an environment, all of them or the named ones; a `UserError` names the key of a mistake."""
    ways = from_plain(Ways, read_sections(path, env_name)[0], f"{path}: an environment")
    check_known(str(path), {"variant": (variants, ways.variants)})
    chosen = {name: variant for name, variant in ways.variants.items() if not variants or name in variants}
    return dataclasses.replace(ways, variants=chosen)


def run(study: str, options: GrowthOptions) -> None:
    """Fit and evaluate every way, and show the table."""
    env, path = resolve_env(options.env)["env"], grid_path(study, options.grid)
    ways = load_ways(env["name"], path, options.variant)
    from lightning_pz.jobs.finetune_settings import check_task

    check_evaluate(ways.evaluate, str(path))
    if ways.tasks:
        with errors_from(f"{path}: tasks"):
            check_task(env["id"], ",".join(ways.tasks))
    fits = {name: ways.make_fits(options.env, options.logs, name) for name in ways.variants}
    check_all([fit for own in fits.values() for fit in own], str(path))
    folder = tables_folder(options.logs, study, [env["name"], *options.variant], changed_grid(study, path))
    from sweeps import pool_rows as tables  # it imports scipy

    rows: dict[str, PoolRow] = {}
    names = {fit.folder: name for name, own in fits.items() for fit in own}
    left = {name: len(own) for name, own in fits.items()}

    def tell(fit: Fit) -> None:
        print(f"{names[fit.folder]}: {fit.folder}", flush=True)

    with open_crew(options, options.logs) as crew:
        for fit in run_fits(crew, [(fit, ways.evaluate) for own in fits.values() for fit in own], tell):
            name = names[fit.folder]
            left[name] -= 1
            if left[name]:
                continue
            rows[name] = _measure(fits[name], ways)
            rows = {name: rows[name] for name in fits if name in rows}  # in the order of the file
            write_text(folder / "table.csv", tables.pool_numbers(rows).csv())
            text = f"{tables.pool_table(rows).markdown()}\n{tables.POOL_ENDS}; a gap is in units of return.\n"
            write_text(folder / "table.md", text)
    print(f"\n{tables.short_pool_table(rows).console()}\n  {tables.POOL_ENDS}")
    print(f"\n  next: every number in {folder / 'table.csv'}\n\n{folder}")


def _measure(fits: Sequence[Fit], ways: Ways) -> PoolRow:
    from lightning_pz.evaluation.elsewhere import to_others
    from lightning_pz.evaluation.groups import find_pool
    from lightning_pz.evaluation.run import load_checkpoints
    from sweeps.pool_rows import pool_row

    done = evaluate_fits(fits, ways.evaluate)
    models = [model for _, model in load_checkpoints([str(fit.checkpoint) for fit in fits], None)]
    elsewhere = to_others(models, [find_pool(model) for model in models])
    return pool_row([fit.summary or {} for fit in fits], elsewhere, done, ways.tasks)
