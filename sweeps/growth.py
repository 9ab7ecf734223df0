"""What pools hold that were made in different ways: a row per way, over seeds that make pool and autoencoder.

Fits what is not there yet, evaluates it, and leaves `table.csv` and `table.md` in `logs/sweeps/growth-<env>`, or of some
of the ways, or of another `--grid` file, in a folder of its own beside it. The ways are in `conf/sweep/growth.yaml`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_pz.common.checks import one_of
from lightning_pz.common.errors import UserError
from lightning_pz.common.files import check_writable, write_text
from lightning_pz.envs.presets import merge, resolve_env
from sweeps.fits import Fit, check_fits, seeded
from sweeps.folders import changed_grid, grid_path, tables_folder
from sweeps.options import GrowthOptions
from sweeps.optuna_study.plan import check_sections, section
from sweeps.optuna_study.reading import make, naming, plain_name, read_yaml, whole_numbers


@dataclass(frozen=True)
class Variant:
    """One way to make a pool.

    Args:
        run: Name of its fits, but for the seed at the end.
        seeds: How many there are, from seed 0 on.
        fit: Settings of `fit` that are its own; `{seed}` stands for the seed.
    """

    run: str
    seeds: int = 2
    fit: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ways:
    """All ways of one environment.

    Args:
        policy: Preset of the policies' size.
        fit: Settings of `fit` that all share.
        evaluate: Settings of `evaluate`.
        tasks: Tasks of the table; all of the environment if empty.
        variants: By the name they have in the table.
    """

    policy: str
    fit: dict[str, Any]
    evaluate: dict[str, Any]
    tasks: list[str]
    variants: dict[str, Variant]

    def fits(self, env: str, logs: str, name: str) -> list[Fit]:
        """Return the fits of one variant."""
        variant, env_name = self.variants[name], resolve_env(env)["env"]["name"]
        settings = merge(self.fit, variant.fit)
        return [seeded(variant.run, env, env_name, self.policy, settings, logs, seed) for seed in range(variant.seeds)]


def load_ways(env_name: str, path: Path, variants: Sequence[str] = ()) -> Ways:
    """Read the ways of an environment, all of them or the named ones.

    Raises:
        UserError: No such file, keys that mean nothing, or a variant that is not there.
    """
    text = read_yaml(path)
    check_sections(path, text, ("default",), env_name)
    settings = merge(section(text, "default", path), section(text, env_name, path))
    ways = make(Ways, settings, f"{path}: an environment")
    for name, variant in ways.variants.items():
        plain_name(f"{path}: variants.{name}", "run", variant.run)
        whole_numbers(f"{path}: variants.{name}", {"seeds": variant.seeds}, 1)
    if not ways.variants:
        raise UserError(f"{path}: variants expects at least one way to make a pool, but got none")
    for name in variants:
        one_of("variant", name, tuple(ways.variants))
    chosen = {name: variant for name, variant in ways.variants.items() if not variants or name in variants}
    return Ways(ways.policy, ways.fit, ways.evaluate, ways.tasks, chosen)


def run(study: str, options: GrowthOptions) -> None:
    """Fit and evaluate every way, and show the table.

    Args:
        study: Its name.
        options: Of the command line.

    Raises:
        UserError: A bad grid, or a run of the same name with other settings.
    """
    if options.env is None:
        raise UserError("which environment? Give --env with a preset or a Gymnasium id")
    env, path = resolve_env(options.env)["env"], grid_path(study, options.grid)
    ways = load_ways(env["name"], path, options.variant)
    _check(ways, env["id"], path)
    fits = {name: ways.fits(options.env, options.logs, name) for name in ways.variants}
    check_fits([fit for own in fits.values() for fit in own], str(path))
    folder = tables_folder(options.logs, study, [env["name"], *options.variant], changed_grid(study, path))
    check_writable(folder)
    rows: dict[str, Any] = {}
    for name, own in fits.items():
        for fit in own:
            print(f"{name}: {fit.folder}", flush=True)
            fit.run()
        rows[name] = _measure(own, ways, options.logs)
        _write(rows, folder)
    _show(rows, folder)


def _check(ways: Ways, env_id: str, path: Path) -> None:
    """Refuse what would otherwise be found out after the first fits."""
    from lightning_pz.evaluation.groups import EvaluateConfig
    from lightning_pz.jobs.finetune_settings import check_task

    make(EvaluateConfig, ways.evaluate, f"{path}: evaluate")
    if ways.tasks:
        with naming(f"{path}: tasks"):
            check_task(env_id, ",".join(ways.tasks))


def _measure(fits: Sequence[Fit], ways: Ways, logs: str) -> Any:
    from lightning_pz.evaluation.elsewhere import to_others
    from lightning_pz.evaluation.groups import EvaluateConfig, find_pool
    from lightning_pz.evaluation.run import load_checkpoints
    from lightning_pz.jobs.evaluate import evaluate_all
    from sweeps.pool_rows import measure

    config, checkpoints = EvaluateConfig(**ways.evaluate), [str(fit.checkpoint) for fit in fits]
    done = evaluate_all(checkpoints, None, config, None, Path(logs))
    models = [model for _, model in load_checkpoints(checkpoints, None)]
    elsewhere = to_others(models, [find_pool(model) for model in models])
    return measure([fit.summary or {} for fit in fits], elsewhere, done, ways.tasks)


def _write(rows: Mapping[str, Any], folder: Path) -> None:
    from lightning_pz.common.tables import Table
    from sweeps.pool_rows import ENDS, as_csv, as_text

    write_text(folder / "table.csv", as_csv(rows))
    header, *lines = as_text(rows)
    write_text(folder / "table.md", f"{Table(header, lines).markdown()}\n{ENDS}; a gap is told in units of return.\n")


def _show(rows: Mapping[str, Any], folder: Path) -> None:
    from lightning_pz.common.tables import Table
    from sweeps.pool_rows import ENDS, as_text

    header, *lines = as_text(rows, short=True)
    print(f"\n{Table(header, lines).console()}\n  {ENDS}\n\n  next: every number in {folder / 'table.csv'}\n\n{folder}")
