"""What pools hold that were made in different ways: a row per way, over seeds that make pool and autoencoder.

Fits what is not there yet, evaluates it, and leaves `table.csv` and `table.md` in `logs/sweeps/growth-<env>`, or of some
of the ways in `growth-<env>-<ways>` beside it. The ways are in `conf/sweep/growth.yaml`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lightning_pz.checks import one_of
from lightning_pz.errors import UserError
from lightning_pz.presets import merge, resolve_env
from sweeps.fits import Fit, seeded
from sweeps.options import read_options


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
    if not path.is_file():
        raise UserError(f"--grid expects a YAML file, but there is none at {path}")
    text = yaml.safe_load(path.read_text())
    try:
        settings = merge(text["default"], text.get(env_name, {}))
        ways = Ways(**settings | {"variants": {name: Variant(**v) for name, v in settings["variants"].items()}})
    except (TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{path}: an environment has the keys {', '.join(Ways.__dataclass_fields__)}, and a variant in it "
            f"{', '.join(Variant.__dataclass_fields__)}, but {error}"
        ) from error
    for name in variants:
        one_of("variant", name, tuple(ways.variants))
    chosen = {name: variant for name, variant in ways.variants.items() if not variants or name in variants}
    return Ways(ways.policy, ways.fit, ways.evaluate, ways.tasks, chosen)


def run(arguments: list[str]) -> None:
    """Fit and evaluate every way, and show the table.

    Args:
        arguments: `--env NAME`, and perhaps `--variant` (several times), `--logs` and `--grid`.

    Raises:
        UserError: A bad grid, or a run of the same name with other settings.
    """
    asked = read_options("growth", arguments, "--variant")
    ways = load_ways(asked.env_name, asked.grid, asked.several)
    fits = {name: ways.fits(asked.env, asked.logs, name) for name in ways.variants}
    for fit in (fit for own in fits.values() for fit in own):
        fit.check(str(asked.grid))
    rows: dict[str, Any] = {}
    for name, own in fits.items():
        for fit in own:
            print(f"{name}: {fit.folder}", flush=True)
            fit.run()
        rows[name] = _measure(own, ways, asked.logs)
        _write(rows, asked.folder)
    _show(rows, asked.folder)


def _measure(fits: Sequence[Fit], ways: Ways, logs: str) -> Any:
    from lightning_pz.evaluation.command import evaluate_all
    from lightning_pz.evaluation.play import EvaluateConfig, find_pool
    from lightning_pz.evaluation.run import load_checkpoints
    from lightning_pz.evaluation.transfer import to_others
    from sweeps.pool_rows import measure

    config, checkpoints = EvaluateConfig(**ways.evaluate), [str(fit.checkpoint) for fit in fits]
    done = evaluate_all(checkpoints, None, config, None, Path(logs))
    models = [model for _, model in load_checkpoints(checkpoints, None)]
    elsewhere = to_others(models, [find_pool(model) for model in models])
    return measure([fit.summary or {} for fit in fits], elsewhere, done, ways.tasks)


def _write(rows: Mapping[str, Any], folder: Path) -> None:
    from lightning_pz.evaluation.table import markdown
    from sweeps.pool_rows import ENDS, as_csv, as_text

    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("table.csv", as_csv(rows)),
        ("table.md", f"{markdown(as_text(rows))}\n{ENDS}; a gap is told in units of return.\n"),
    ):
        temporary = folder / f"{name}.tmp"
        temporary.write_text(text)
        temporary.replace(folder / name)


def _show(rows: Mapping[str, Any], folder: Path) -> None:
    from lightning_pz.evaluation.table import console
    from sweeps.pool_rows import ENDS, as_text

    print(
        f"\n{console(as_text(rows, short=True))}\n  {ENDS}\n\n  next: every number in {folder / 'table.csv'}\n\n{folder}"
    )
