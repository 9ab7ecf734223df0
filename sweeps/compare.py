"""Which search solves a task in the fewest environment steps: every algorithm on every task, and the report.

Fits and evaluates one autoencoder per environment, or one for each seed of the search, runs each algorithm from it, and
leaves the report of those very runs in `logs/sweeps/<study>`, or of a part of the grid in `<study>-<its names>` beside it,
so that no part takes the place of the whole. Everything that is finished is found again. The grids are
`conf/sweep/compare.yaml` and `conf/sweep/grown.yaml`.
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
from sweeps.fits import Fit, seeded


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


def run(arguments: list[str], study: str = "compare") -> None:
    """Fit, evaluate, search and report.

    Args:
        arguments: Perhaps `--env` and `--algorithm` with names of the grid's, and `--logs` and `--grid`.
        study: Name of its grid in `conf/sweep/`, with which the name of the folder of its report begins.

    Raises:
        UserError: A bad grid, a missing extra, or a run of the same name with other settings.
    """
    environments, rest = take_options(arguments, "--env")
    algorithms, rest = take_options(rest, "--algorithm")
    given, rest = take_option(rest, "--logs")
    grid_path, rest = take_option(rest, "--grid")
    if rest:
        raise UserError(
            f"python -m sweeps {study} takes --env, --algorithm, --logs and --grid, but got {' '.join(rest)}"
        )
    logs, path = given or "logs", Path(grid_path) if grid_path else conf_dir() / "sweep" / f"{study}.yaml"
    grid = load_comparison(path, environments, algorithms)
    fits = {env: world.make_fits(env, logs) for env, world in grid.environments.items()}
    # A mistake in the last cell is told before the first hour is spent.
    for algorithm, env in grid.cells():
        _, search = parse(grid.commands(algorithm, env, logs)[0])
        search.check()
        check_extra(search.algorithm)
        check_task(resolve_env(env)["env"]["id"], search.task)
    for env in fits:
        for fit in fits[env]:
            fit.check(str(path))
    evaluations: dict[str, list[Path]] = {env: [] for env in fits}
    for env in fits:
        for fit in fits[env]:
            print(f"fit and evaluate: {fit.folder}", flush=True)
            fit.run()
            evaluations[env].append(_evaluate(str(fit.checkpoint), grid.environments[env].evaluate, logs))
    checkpoints = {env: [str(fit.checkpoint) for fit in made] for env, made in fits.items()}
    part = [fits[env][0].env_name for env in environments] + algorithms
    out = Path(logs) / "sweeps" / "-".join([study, *part])
    _search(grid, checkpoints, logs, out, evaluations)


def _evaluate(checkpoint: str, settings: Mapping[str, Any], logs: str) -> Path:
    from lightning_pz.evaluation.command import evaluate_all
    from lightning_pz.evaluation.play import EvaluateConfig

    return evaluate_all([checkpoint], None, EvaluateConfig(**settings), None, Path(logs))[0].folder / "summary.json"


def _search(
    grid: Comparison,
    checkpoints: Mapping[str, Sequence[str]],
    logs: str,
    out: Path,
    evaluations: Mapping[str, Sequence[Path]],
) -> None:
    """Run every cell, and report after each, so that there is something to look at from the first one on."""
    from lightning_pz.comparison.command import report, show
    from lightning_pz.finetuning import finetune

    folders: list[Path] = []
    cells = grid.cells()
    for number, (algorithm, env) in enumerate(cells, 1):
        print(f"\nsearch {number} of {len(cells)}: {algorithm} on {env}", flush=True)
        for command, checkpoint in zip(grid.commands(algorithm, env, logs), checkpoints[env], strict=False):
            folders += [result.folder for result in finetune(*parse([*command, f"--checkpoint={checkpoint}"]))]
        searched = sorted({env for _, env in cells[:number]})
        pools = [path for env in searched for path in evaluations[env]]
        made = report(folders, out, pools, draws=2000, seed=0, at=grid.at)
    show(made)
