"""Which search solves a task in the fewest environment steps: every algorithm on every task, and the report.

Fits and evaluates one autoencoder per environment, or one for each seed of the search, runs each algorithm from it, and
leaves the report of those very runs in `logs/sweeps/<study>`. A part of the grid, `<study>-<its names>`, and another
`--grid` file have a folder of their own beside it. Everything that is finished is found again. The grids are
`conf/sweep/compare.yaml` and `conf/sweep/grown.yaml`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_pz.common.errors import UserError, nearest
from lightning_pz.common.files import check_writable
from lightning_pz.envs.presets import merge, resolve_env
from lightning_pz.finetune import parse
from lightning_pz.jobs.finetune_settings import check_task
from lightning_pz.search.extras import check_extra
from lightning_pz.search.settings import ALGORITHMS
from sweeps.fits import Fit, check_fits, seeded
from sweeps.folders import changed_grid, grid_path, tables_folder
from sweeps.options import CompareOptions
from sweeps.optuna_study.reading import LARGEST_SEED, make, naming, plain_name, read_yaml, whole_numbers


@dataclass(frozen=True)
class World:
    """One environment of the comparison.

    Args:
        run: Name of the fit's run folder; with `fit_seeds`, of all of them, but for the seed at the end.
        fit_seeds: Fits, each with a seed of its own (and whatever else in `fit` is `{seed}`, such as the seed of its
            pool), from which the searches of that very seed are made; one fit for all seeds if 0.
        policy: Preset of the policies' size.
        tasks: Names of its tasks; all if empty.
        fit: Settings of `fit`, in its dotted keys.
        evaluate: Settings of `evaluate`.
        algorithms: Settings of `finetune` by algorithm, on top of those for all environments; `seeds: 0` leaves one out.
    """

    run: str
    fit_seeds: int = 0
    policy: str = "medium"
    tasks: list[str] = field(default_factory=list)
    fit: dict[str, Any] = field(default_factory=dict)
    evaluate: dict[str, Any] = field(default_factory=dict)
    algorithms: dict[str, dict[str, Any]] = field(default_factory=dict)

    def make_fits(self, env: str, logs: str) -> list[Fit]:
        """Return the fits of this environment."""
        name = resolve_env(env)["env"]["name"]
        if not self.fit_seeds:
            return [Fit(self.run, env, name, self.policy, self.fit, logs)]
        return [seeded(self.run, env, name, self.policy, self.fit, logs, seed) for seed in range(self.fit_seeds)]


@dataclass(frozen=True)
class Comparison:
    """What is compared.

    Args:
        environments: By preset or Gymnasium id.
        algorithms: Settings of `finetune` of each algorithm, in the order in which they are run; one that stands here
            in several ways has names of your own and tells its `algorithm`.
        finetune: Settings of `finetune` for all.
        at: Environment steps at which the report tells returns beside those at the end.
    """

    environments: dict[str, World]
    algorithms: dict[str, dict[str, Any]]
    finetune: dict[str, Any] = field(default_factory=dict)
    at: list[int] = field(default_factory=list)

    def check(self, where: str) -> None:
        """Raise `UserError` for values that no comparison can have."""
        for env, world in self.environments.items():
            plain_name(f"{where}: environments.{env}", "run", world.run)
            whole_numbers(f"{where}: environments.{env}", {"fit_seeds": world.fit_seeds})
            for name in (*self.algorithms, *world.algorithms):
                seeds = merge(merge(self.finetune, self.algorithms.get(name, {})), world.algorithms.get(name, {})).get(
                    "seeds", 1
                )
                if not isinstance(seeds, int) or isinstance(seeds, bool) or not 0 <= seeds <= LARGEST_SEED:
                    raise UserError(
                        f"{where}: seeds of {name} on {env} expects how many, a whole number of at least 0, but got {seeds!r}"
                    )
        for key in ("environments", "algorithms"):
            if not getattr(self, key):
                raise UserError(f"{where}: {key!r} expects at least one entry, but got none")
        for step in self.at:
            whole_numbers(where, {"at": step}, 1)

    def cells(self) -> list[tuple[str, str]]:
        """Return algorithm and environment of all commands, in the order in which they are run."""
        both = [(algorithm, env) for algorithm in self.algorithms for env in self.environments]
        return [cell for cell in both if self.settings(*cell).get("seeds") != 0]

    def settings(self, name: str, env: str) -> dict[str, Any]:
        """Return the settings of `finetune` of one algorithm on one environment."""
        over = self.environments[env].algorithms.get(name, {})
        return {"algorithm": name} | merge(merge(self.finetune, self.algorithms[name]), over)

    def commands(self, name: str, env: str, logs: str) -> list[list[str]]:
        """Return the command lines of one algorithm on one environment, one for each of its fits."""
        world, settings = self.environments[env], self.settings(name, env)
        common = {"task": ",".join(world.tasks) or "all", "logs": logs}
        # Seeds beyond the fits have none to begin from.
        seeds = range(min(world.fit_seeds, int(settings.get("seeds", world.fit_seeds))))
        each = [{"seed": seed, "seeds": 1} for seed in seeds] if world.fit_seeds else [{}]
        return [[f"--{key}={value}" for key, value in (common | settings | own).items()] for own in each]


def load_comparison(path: Path, environments: Sequence[str] = (), algorithms: Sequence[str] = ()) -> Comparison:
    """Read what is compared, all of it or the named part.

    Raises:
        UserError: No such file, keys that mean nothing, or a name that the file does not have.
    """
    whole = make(Comparison, read_yaml(path), f"{path}: a comparison")
    whole.check(str(path))
    searched = [settings.get("algorithm", name) for name, settings in whole.algorithms.items()]
    _known("algorithms", searched, dict.fromkeys(ALGORITHMS), path)
    for world in whole.environments.values():
        _known("algorithms", world.algorithms, whole.algorithms, path)
    return Comparison(
        _named("--env", environments, whole.environments, path),
        _named("--algorithm", algorithms, whole.algorithms, path),
        whole.finetune,
        whole.at,
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


def run(study: str, options: CompareOptions) -> None:
    """Fit, evaluate, search and report.

    Args:
        study: Name of its grid in `conf/sweep/`, with which the name of the folder of its report begins.
        options: Of the command line.

    Raises:
        UserError: A bad grid, a missing extra, or a run of the same name with other settings.
    """
    logs, path = options.logs, grid_path(study, options.grid)
    grid = load_comparison(path, options.env, options.algorithm)
    fits = {env: world.make_fits(env, logs) for env, world in grid.environments.items()}
    _check(grid, logs, str(path))
    check_fits([fit for own in fits.values() for fit in own], str(path))
    parts = [fits[env][0].env_name for env in dict.fromkeys(options.env)] + list(dict.fromkeys(options.algorithm))
    out = tables_folder(logs, study, parts, changed_grid(study, path))
    check_writable(out)
    evaluations: dict[str, list[Path]] = {env: [] for env in fits}
    for env in fits:
        for fit in fits[env]:
            print(f"fit and evaluate: {fit.folder}", flush=True)
            fit.run()
            evaluations[env].append(_evaluate(str(fit.checkpoint), grid.environments[env].evaluate, logs))
    checkpoints = {env: [str(fit.checkpoint) for fit in made] for env, made in fits.items()}
    _search(grid, checkpoints, logs, out, evaluations)


def _check(grid: Comparison, logs: str, path: str) -> None:
    """Refuse a mistake in the last cell before the first hour is spent."""
    for algorithm, env in grid.cells():
        with naming(f"{path}: {algorithm} on {env}"):
            _, search = parse(grid.commands(algorithm, env, logs)[0])
            search.check()
            check_extra(search.algorithm)
            check_task(resolve_env(env)["env"]["id"], search.task)
    from lightning_pz.evaluation.groups import EvaluateConfig

    for env, world in grid.environments.items():
        make(EvaluateConfig, world.evaluate, f"{path}: environments.{env}: evaluate")


def _evaluate(checkpoint: str, settings: Mapping[str, Any], logs: str) -> Path:
    from lightning_pz.evaluation.groups import EvaluateConfig
    from lightning_pz.jobs.evaluate import evaluate_all

    return evaluate_all([checkpoint], None, EvaluateConfig(**settings), None, Path(logs))[0].folder / "summary.json"


def _search(
    grid: Comparison,
    checkpoints: Mapping[str, Sequence[str]],
    logs: str,
    out: Path,
    evaluations: Mapping[str, Sequence[Path]],
) -> None:
    """Run every cell, and report after each, so that there is something to look at from the first one on."""
    from lightning_pz.comparison.settings import ReportSettings
    from lightning_pz.jobs.finetune import finetune
    from lightning_pz.jobs.report import print_report, report

    folders: list[Path] = []
    cells = grid.cells()
    for number, (algorithm, env) in enumerate(cells, 1):
        print(f"\nsearch {number} of {len(cells)}: {algorithm} on {env}", flush=True)
        for command, checkpoint in zip(grid.commands(algorithm, env, logs), checkpoints[env], strict=False):
            folders += [result.folder for result in finetune(*parse([*command, f"--checkpoint={checkpoint}"]))]
        searched = sorted({env for _, env in cells[:number]})
        pools = [path for env in searched for path in evaluations[env]]
        made = report(folders, ReportSettings(out=str(out), evaluation=[str(path) for path in pools], at=grid.at))
    print_report(made)
