"""Which search solves a task in the fewest environment steps: every algorithm on every task, and the report.

Fits and evaluates one autoencoder per environment, runs each algorithm from it, and leaves the report of those very
runs in `logs/sweeps/compare`. Everything that is finished is found again. The grid is in `conf/sweep/compare.yaml`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lightning_pz.errors import UserError, nearest
from lightning_pz.finetune import parse
from lightning_pz.jobs import check_task
from lightning_pz.presets import conf_dir, merge, resolve_env, take_option, take_options
from lightning_pz.search.extras import check_extra
from lightning_pz.search.settings import ALGORITHMS
from sweeps.fits import Fit


@dataclass(frozen=True)
class World:
    """One environment of the comparison.

    Args:
        run: Name of the fit's run folder.
        policy: Preset of the policies' size.
        tasks: Names of its tasks; all if empty.
        fit: Settings of `fit`, in its dotted keys.
        evaluate: Settings of `evaluate`.
        algorithms: Settings of `finetune` by algorithm, on top of those for all environments.
    """

    run: str
    policy: str = "medium"
    tasks: list[str] = field(default_factory=list)
    fit: dict[str, Any] = field(default_factory=dict)
    evaluate: dict[str, Any] = field(default_factory=dict)
    algorithms: dict[str, dict[str, Any]] = field(default_factory=dict)

    def make_fit(self, env: str, logs: str) -> Fit:
        """Return the fit of this environment."""
        return Fit(self.run, env, resolve_env(env)["env"]["name"], self.policy, self.fit, logs)


@dataclass(frozen=True)
class Comparison:
    """What is compared.

    Args:
        environments: By preset or Gymnasium id.
        algorithms: Settings of `finetune` of each algorithm, in the order in which they are run.
        finetune: Settings of `finetune` for all.
    """

    environments: dict[str, World]
    algorithms: dict[str, dict[str, Any]]
    finetune: dict[str, Any] = field(default_factory=dict)

    def cells(self) -> list[tuple[str, str]]:
        """Return algorithm and environment of every command, in the order in which they are run."""
        return [(algorithm, env) for algorithm in self.algorithms for env in self.environments]

    def arguments(self, algorithm: str, env: str, logs: str) -> list[str]:
        """Return the command line of one algorithm on one environment."""
        over = self.environments[env].algorithms.get(algorithm, {})
        settings = merge(merge(self.finetune, self.algorithms[algorithm]), over)
        task = ",".join(self.environments[env].tasks) or "all"
        return [
            f"--algorithm={algorithm}",
            f"--task={task}",
            f"--logs={logs}",
            *(f"--{key}={value}" for key, value in settings.items()),
        ]


def load_comparison(path: Path, environments: Sequence[str] = (), algorithms: Sequence[str] = ()) -> Comparison:
    """Read what is compared, all of it or the named part.

    Raises:
        UserError: No such file, keys that mean nothing, or a name that the file does not have.
    """
    if not path.is_file():
        raise UserError(f"--grid expects a YAML file, but there is none at {path}")
    text = yaml.safe_load(path.read_text())
    try:
        text["environments"] = {name: World(**world) for name, world in text["environments"].items()}
        whole = Comparison(**text)
    except (TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{path}: a comparison has the keys {', '.join(Comparison.__dataclass_fields__)}, and an environment in it "
            f"{', '.join(World.__dataclass_fields__)}, but {error}"
        ) from error
    _known("algorithms", whole.algorithms, dict.fromkeys(ALGORITHMS), path)
    for world in whole.environments.values():
        _known("algorithms", world.algorithms, whole.algorithms, path)
    return Comparison(
        _named("--env", environments, whole.environments, path),
        _named("--algorithm", algorithms, whole.algorithms, path),
        whole.finetune,
    )


def _known(flag: str, names: Sequence[str] | Mapping[str, Any], known: Mapping[str, Any], path: Path) -> None:
    for name in names:
        if name not in known:
            raise UserError(
                f"{path}: {flag} expects one of {', '.join(known)}, but got {name!r}." + nearest(name, known)
            )


def _named(flag: str, names: Sequence[str], known: dict[str, Any], path: Path) -> dict[str, Any]:
    _known(flag, names, known, path)
    return {name: value for name, value in known.items() if not names or name in names}


def run(arguments: list[str]) -> None:
    """Fit, evaluate, search and report.

    Args:
        arguments: Perhaps `--env` and `--algorithm` with names of the grid's, and `--logs` and `--grid`.

    Raises:
        UserError: A bad grid, a missing extra, or a run of the same name with other settings.
    """
    environments, rest = take_options(arguments, "--env")
    algorithms, rest = take_options(rest, "--algorithm")
    given, rest = take_option(rest, "--logs")
    grid_path, rest = take_option(rest, "--grid")
    if rest:
        raise UserError(
            f"python -m sweeps compare takes --env, --algorithm, --logs and --grid, but got {' '.join(rest)}"
        )
    logs, path = given or "logs", Path(grid_path) if grid_path else conf_dir() / "sweep" / "compare.yaml"
    grid = load_comparison(path, environments, algorithms)
    fits = {env: world.make_fit(env, logs) for env, world in grid.environments.items()}
    # A mistake in the last cell is told before the first hour is spent.
    for algorithm, env in grid.cells():
        _, search = parse(grid.arguments(algorithm, env, logs))
        search.check()
        check_extra(algorithm)
        check_task(resolve_env(env)["env"]["id"], search.task)
    for fit in fits.values():
        fit.check(str(path))
    evaluations = {}
    for env, fit in fits.items():
        print(f"fit and evaluate: {fit.folder}", flush=True)
        fit.run()
        evaluations[env] = _evaluate(str(fit.checkpoint), grid.environments[env].evaluate, logs)
    _search(grid, {env: str(fit.checkpoint) for env, fit in fits.items()}, logs, evaluations)


def _evaluate(checkpoint: str, settings: Mapping[str, Any], logs: str) -> Path:
    from lightning_pz.evaluation.command import evaluate_all
    from lightning_pz.evaluation.play import EvaluateConfig

    return evaluate_all([checkpoint], None, EvaluateConfig(**settings), None, Path(logs))[0].folder / "summary.json"


def _search(grid: Comparison, checkpoints: Mapping[str, str], logs: str, evaluations: Mapping[str, Path]) -> None:
    """Run every cell, and report after each, so that there is something to look at from the first one on."""
    from lightning_pz.comparison.command import report, show
    from lightning_pz.finetuning import finetune

    out = Path(logs) / "sweeps" / "compare"
    folders: list[Path] = []
    cells = grid.cells()
    for number, (algorithm, env) in enumerate(cells, 1):
        print(f"\nsearch {number} of {len(cells)}: {algorithm} on {env}", flush=True)
        arguments = [*grid.arguments(algorithm, env, logs), f"--checkpoint={checkpoints[env]}"]
        folders += [result.folder for result in finetune(*parse(arguments))]
        searched = {env for _, env in cells[:number]}
        made = report(folders, out, [evaluations[env] for env in sorted(searched)], draws=2000, seed=0)
    show(made)
